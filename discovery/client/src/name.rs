//! Names of sites, applications and endpoints.
//!
//! A name is checked once, where it enters, and is cheap to clone and to
//! compare from then on. All names share one alphabet, so that any of them can
//! stand in a header, a label or a log line without quoting.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty or longer than the name may be.
    #[error("a name has 1 to {max} characters, this one has {len}")]
    Length {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The text holds a character outside the alphabet.
    #[error("{found:?} may not stand in a name: use letters, digits and . _ - : / @ +")]
    Character {
        /// The first character that is not allowed.
        found: char,
    },
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length {
            len: text.len(),
            max,
        });
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "._-:/@+".contains(*c)))
    {
        Some(found) => Err(NameError::Character { found }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest allowed name, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// [`NameError`] if it is empty, too long or has a character
            /// outside `A-Z a-z 0-9 . _ - : / @ +`.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                check(text, Self::MAX_LEN)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $max,
                    "pattern": "^[A-Za-z0-9._:/@+-]+$"
                })
            }
        }
    };
}

name! {
    /// One data centre of the federation, such as `east`.
    Site, 64
}
name! {
    /// What callers ask for by name: a model, or a Ray Serve application.
    Application, 256
}
name! {
    /// One endpoint, unique within its site.
    EndpointId, 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_of_the_field_are_names() {
        for name in [
            "gpt-4o",
            "meta-llama/Llama-3.1-8B-Instruct",
            "qwen2.5:7b",
            "org/base@lora+v2",
        ] {
            assert_eq!(Application::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_that_could_break_a_header_or_a_label_is_refused() {
        for (text, found) in [("a b", ' '), ("a\nb", '\n'), ("a\"b", '"'), ("modèle", 'è')] {
            assert_eq!(Application::new(text), Err(NameError::Character { found }));
        }
        assert_eq!(Site::new(""), Err(NameError::Length { len: 0, max: 64 }));
        assert_eq!(
            Site::new("x".repeat(65)),
            Err(NameError::Length { len: 65, max: 64 })
        );
    }
}
