//! Text of users in pages and pictures.

/// Makes text safe between the tags and in the quoted attributes of HTML and XML. Characters that no XML document may
/// hold (XML 1.0, section 2.2) become U+FFFD.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\t' | '\n' | '\r' => safe.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<a b='\"c\"'>&\u{1}\u{ffff}\n"),
            "&lt;a b=&#39;&quot;c&quot;&#39;&gt;&amp;\u{fffd}\u{fffd}\n"
        );
    }
}
