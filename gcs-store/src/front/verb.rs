//! The verbs the front knows.
//!
//! One list gives the name on the wire, the label in the metrics and the arity
//! that Redis states: a positive number counts the words of a request exactly,
//! the verb among them; a negative one is the least there must be.

macro_rules! verbs {
    ($($variant:ident $name:literal $arity:literal $text:literal),* $(,)?) => {
        /// One verb of the subset.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Verb {
            $(#[doc = $text] $variant,)*
        }

        impl Verb {
            /// Every verb, in the order of the enum.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name, in lower case.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How many words its requests have; see the module's text.
            const fn arity(self) -> i8 {
                match self { $(Self::$variant => $arity,)* }
            }
        }
    };
}

verbs! {
    Ping "ping" -1 "Is anybody there?",
    Hset "hset" -4 "Writes fields.",
    Hsetnx "hsetnx" 4 "Writes a field unless it is there.",
    Hget "hget" 3 "Reads a field.",
    Hmget "hmget" -3 "Reads fields.",
    Hexists "hexists" 3 "Is the field there?",
    Hdel "hdel" -3 "Deletes fields.",
    Hlen "hlen" 2 "Counts fields.",
    Hscan "hscan" -3 "Reads a page of a table.",
    Scan "scan" -2 "Reads a page of keys.",
    Incrby "incrby" 3 "Adds to the counter.",
    Get "get" 2 "Reads the counter.",
    Del "del" -2 "Deletes tables.",
    Unlink "unlink" -2 "Deletes tables.",
    Info "info" -1 "Describes the server.",
    Auth "auth" -2 "Logs in.",
    Select "select" 2 "Chooses a database; there is one.",
    Command "command" -1 "Describes commands, to interactive clients.",
    Quit "quit" -1 "Ends the connection.",
}

impl Verb {
    /// Reads a verb, whatever its case.
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|verb| word.eq_ignore_ascii_case(verb.name().as_bytes()))
    }

    /// Whether a request of so many words, the verb among them, has enough and
    /// not too many.
    pub(crate) const fn takes(self, words: usize) -> bool {
        let arity = self.arity();
        let least = arity.unsigned_abs() as usize;
        if arity < 0 {
            words >= least
        } else {
            words == least
        }
    }

    /// Its place in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(Verb::parse(b"HSCAN"), Some(Verb::Hscan));
        assert_eq!(Verb::parse(b"hScAn"), Some(Verb::Hscan));
        assert_eq!(Verb::parse(b"HSCAN "), None);
        assert_eq!(Verb::parse(b""), None);
    }

    #[test]
    fn every_verb_has_its_place_in_the_list() {
        for (nth, verb) in Verb::ALL.iter().enumerate() {
            assert_eq!(verb.index(), nth);
        }
    }

    #[test]
    fn arities_are_those_of_redis() {
        assert!(Verb::Hset.takes(4) && Verb::Hset.takes(6) && !Verb::Hset.takes(3));
        assert!(Verb::Hget.takes(3) && !Verb::Hget.takes(4) && !Verb::Hget.takes(2));
        assert!(Verb::Ping.takes(1) && Verb::Ping.takes(2));
    }
}
