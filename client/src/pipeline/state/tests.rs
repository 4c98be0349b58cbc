//! A model of datanodes drives the machine; see the promises in the module's head.
