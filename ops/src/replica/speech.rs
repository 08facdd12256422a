//! What a replica without a model says. Pure: equal questions, equal answers.

/// A word with its leading blank is a token here.
const FILLER: &[&str] = &[
    "the", "wind", "blows", "from", "the", "east", "until", "it", "blows", "from", "the", "west",
    "and", "no", "ship", "waits", "for", "the", "other",
];

/// Words of a question that are said back.
const ECHOED: usize = 12;

/// How many tokens `text` has, counted in words.
pub(super) fn count(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// What is said, token by token, and whether it was cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Speech {
    pub(super) tokens: Vec<String>,
    pub(super) cut: bool,
}

impl Speech {
    /// The answer of replica `name` to `question`: of `length` tokens if that
    /// is given, and never more than `most`.
    pub(super) fn new(
        name: &str,
        question: &str,
        length: Option<usize>,
        most: Option<usize>,
    ) -> Self {
        let opening = format!("This is the tradewind demo replica {name}: no model ran.");
        let mut words: Vec<&str> = opening.split_whitespace().collect();
        let echo: Vec<&str> = question.split_whitespace().take(ECHOED).collect();
        if !echo.is_empty() {
            words.extend(["You", "said:"]);
            words.extend(echo);
        }
        let whole = length.unwrap_or(words.len() + FILLER.len());
        let said = most.unwrap_or(usize::MAX).min(whole);
        let tokens = words
            .into_iter()
            .chain(FILLER.iter().copied().cycle())
            .take(said)
            .enumerate();
        let tokens = tokens.map(|(nth, word)| {
            if nth == 0 {
                word.to_owned()
            } else {
                format!(" {word}")
            }
        });
        Self {
            tokens: tokens.collect(),
            cut: said < whole,
        }
    }

    pub(super) fn finish_reason(&self) -> &'static str {
        if self.cut { "length" } else { "stop" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_is_a_demo_and_what_was_asked() {
        let speech = Speech::new("east/r1", "how are you", None, None);
        let text = speech.tokens.concat();
        assert!(text.starts_with(
            "This is the tradewind demo replica east/r1: no model ran. You said: how are you"
        ));
        assert_eq!(speech.finish_reason(), "stop");
        assert_eq!(count(&text), u64::try_from(speech.tokens.len()).unwrap());
        assert_eq!(speech, Speech::new("east/r1", "how are you", None, None));
    }

    #[test]
    fn max_tokens_cuts_and_a_wanted_length_is_kept() {
        let cut = Speech::new("a", "b", None, Some(5));
        assert_eq!((cut.tokens.len(), cut.finish_reason()), (5, "length"));
        let long = Speech::new("a", "b", Some(500), Some(1000));
        assert_eq!((long.tokens.len(), long.finish_reason()), (500, "stop"));
        assert!(Speech::new("a", "b", None, Some(0)).tokens.is_empty());
    }
}
