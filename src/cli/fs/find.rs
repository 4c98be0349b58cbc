//! `find`: paths below a path that match an expression.

use clap::Args;

use super::glob::Pattern;
use super::shell::{Complaint, Done, Item, Shell};

/// Prints what is below paths and matches an expression: -name GLOB, -iname GLOB, -print, -print0, and
/// -a or -and between them.
#[derive(Debug, Clone, Args)]
pub struct Find {
    /// Paths, then the expression. Without paths: the home directory
    #[arg(allow_hyphen_values = true, trailing_var_arg = true, value_names = ["PATH] [EXPRESSION"])]
    pub arguments: Vec<String>,
}

#[derive(Debug)]
enum Term {
    Name(Pattern),
    NameOfAnyCase(Pattern),
    Print(&'static str),
}

impl Find {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let split = self.arguments.iter().position(|word| word.starts_with('-'));
        let (paths, words) = self.arguments.split_at(split.unwrap_or(self.arguments.len()));
        let terms = match parse(words) {
            Ok(terms) => terms,
            Err(complaint) => return shell.complain(&complaint),
        };
        let home = [".".to_owned()];
        let paths = if paths.is_empty() { &home[..] } else { paths };
        shell
            .each_deep(paths, true, async |item| {
                visit(shell, item, &terms);
                Ok(())
            })
            .await;
    }
}

fn parse(words: &[String]) -> Done<Vec<Term>> {
    let mut terms = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        // Arguments may come with one dash or, after normalising, with two.
        let name = word.trim_start_matches('-');
        let mut pattern = |fold: bool| -> Done<Pattern> {
            let text =
                words.next().ok_or_else(|| Complaint(format!("{word} needs a glob after it")))?;
            let text = if fold { text.to_lowercase() } else { text.clone() };
            Pattern::new(&text).map_err(Complaint)
        };
        terms.push(match name {
            "name" => Term::Name(pattern(false)?),
            "iname" => Term::NameOfAnyCase(pattern(true)?),
            "print" => Term::Print("\n"),
            "print0" => Term::Print("\0"),
            "a" | "and" => continue,
            _ => return Err(Complaint(format!("Unexpected argument: {word}"))),
        });
    }
    if !terms.iter().any(|term| matches!(term, Term::Print(_))) {
        terms.push(Term::Print("\n"));
    }
    Ok(terms)
}

fn visit(shell: &Shell, item: &Item, terms: &[Term]) {
    for term in terms {
        let goes_on = match term {
            Term::Name(pattern) => pattern.matches(item.target.name()),
            Term::NameOfAnyCase(pattern) => pattern.matches(&item.target.name().to_lowercase()),
            Term::Print(end) => {
                shell.bytes(item.target.shown.as_bytes());
                shell.bytes(end.as_bytes());
                true
            }
        };
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_prints_at_its_end_unless_it_says_where() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse(&words("-name *.txt")).map(|terms| terms.len()), Ok(2));
        assert_eq!(parse(&words("-print -name x")).map(|terms| terms.len()), Ok(2));
        assert!(parse(&words("-name")).is_err());
        assert!(parse(&words("-size 3")).is_err());
    }
}
