//! YAML as a tree in which everything knows its line and column.

use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// Where something stands in the file: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<&Marker> for At {
    fn from(mark: &Marker) -> Self {
        Self { line: mark.line(), column: mark.col() + 1 }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: At,
    pub(super) why: String,
}

impl At {
    pub(super) fn wrong<T>(self, why: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { at: self, why: why.into() })
    }
}

/// A part of the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) is: Is,
}

#[derive(Debug)]
pub(super) enum Is {
    /// A text; whether it was written without quotes, and so may be something else.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// What stands before a colon.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: At,
    pub(super) text: String,
}

/// What it is, for people.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.is {
            _ if self.is_nothing() => f.write_str("nothing"),
            Is::Scalar { text, plain: true } => write!(f, "`{text}`"),
            Is::Scalar { text, plain: false } => write!(f, "the text {text:?}"),
            Is::List(_) => f.write_str("a list"),
            Is::Map(_) => f.write_str("a map"),
        }
    }
}

/// Lists and maps inside each other, at most.
const DEPTH: usize = 32;

impl Node {
    /// Reads a file with one document. `None` if nothing stands in it.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Wrong> {
        let mut reader =
            Reader { parser: Parser::new_from_str(text), end: At { line: 1, column: 1 } };
        loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, _) => return Ok(None),
                (event, at) => {
                    let root = reader.node(event, at, 0)?;
                    return match (reader.next()?, reader.next()?) {
                        ((Event::DocumentEnd, _), (Event::StreamEnd, _)) => Ok(Some(root)),
                        (_, (_, at)) => at.wrong("a second document; there is one in a file"),
                    };
                }
            }
        }
    }

    /// Nothing stands there, or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        let Is::Scalar { text, plain: true } = &self.is else { return false };
        matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// `true` or `false`, in the forms of YAML 1.1 and 1.2.
    pub(super) fn as_bool(&self) -> Option<bool> {
        let Is::Scalar { text, plain: true } = &self.is else { return None };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    pub(super) fn bool(&self, of: &str) -> Result<bool, Wrong> {
        let why = || format!("`{of}` is {self}; expected true or false");
        self.as_bool().map_or_else(|| self.at.wrong(why()), Ok)
    }

    pub(super) fn text(&self, of: &str, expected: &str) -> Result<&str, Wrong> {
        match &self.is {
            Is::Scalar { text, .. } if !self.is_nothing() => Ok(text),
            _ => self.at.wrong(format!("`{of}` is {self}; expected {expected}")),
        }
    }

    /// The entries; none for nothing.
    pub(super) fn map(&self, of: &str, expected: &str) -> Result<&[(Key, Self)], Wrong> {
        match &self.is {
            Is::Map(entries) => Ok(entries),
            _ if self.is_nothing() => Ok(&[]),
            _ => self.at.wrong(format!("{of} is {self}; expected {expected}")),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    end: At,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, At), Wrong> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.end = (&span.start).into();
                Ok((event, self.end))
            }
            Some(Err(error)) => {
                At::from(error.marker()).wrong(format!("this is not YAML: {}", error.info()))
            }
            None => self.end.wrong("the file ends in the middle"),
        }
    }

    fn node(&mut self, event: Event<'t>, at: At, depth: usize) -> Result<Node, Wrong> {
        if depth > DEPTH {
            return at.wrong(format!("more than {DEPTH} lists and maps inside each other"));
        }
        let is = match event {
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    return at.wrong("a tag (`!`) has no meaning here; write the value alone");
                }
                Is::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Is::List(list),
                        (event, at) => list.push(self.node(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map: Vec<(Key, Node)> = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break Is::Map(map),
                        (Event::Scalar(text, ..), at) => Key { at, text: text.into_owned() },
                        (_, at) => return at.wrong("what stands before a colon is a name"),
                    };
                    if let Some((first, _)) = map.iter().find(|(known, _)| known.text == key.text) {
                        let (name, line) = (&key.text, first.at.line);
                        return key
                            .at
                            .wrong(format!("`{name}` is here twice, first in line {line}"));
                    }
                    let (event, at) = self.next()?;
                    let value = self.node(event, at, depth + 1)?;
                    map.push((key, value));
                }
            }
            Event::Alias(_) => {
                return at.wrong("an alias (`*`) is not supported; write what it stands for");
            }
            _ => return at.wrong("the file ends in the middle"),
        };
        Ok(Node { at, is })
    }
}
