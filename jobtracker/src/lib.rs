//! The jobtracker: jobs, scheduler and their journal.
