//! What stands in the parentheses of an attribute.

use proc_macro2::{Ident, Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, LitStr, Meta, Result, Token, parenthesized};

use crate::quantity;

/// Options of a node or of an actor. `None`: not given.
#[derive(Default)]
pub(crate) struct Options {
    /// In 1/10000.
    pub(crate) cpus: Option<i64>,
    /// Labels and quantities, in 1/10000.
    pub(crate) resources: Vec<(String, i64)>,
    /// `max_retries` of a node, `max_restarts` of an actor; -1: without limit.
    pub(crate) repeats: Option<i64>,
    pub(crate) name: Option<LitStr>,
    /// How long a body may run, in nanoseconds.
    pub(crate) deadline_ns: Option<u64>,
    pub(crate) priority: Option<i32>,
}

/// What an attribute is about: they have other options.
#[derive(Clone, Copy)]
pub(crate) enum Subject {
    Node,
    Actor,
}

impl Subject {
    fn repeats(self) -> &'static str {
        match self {
            Self::Node => "max_retries",
            Self::Actor => "max_restarts",
        }
    }

    fn of(self) -> &'static str {
        match self {
            Self::Node => {
                "a node; there are cpus, resources(..), max_retries, deadline, priority, name"
            }
            Self::Actor => "an actor; there are cpus, resources(..), max_restarts",
        }
    }
}

/// Parses what stands in the parentheses.
pub(crate) fn parse(tokens: TokenStream, subject: Subject) -> Result<Options> {
    (|input: ParseStream<'_>| options(input, subject)).parse2(tokens)
}

/// Parses `#[node]` or `#[node(..)]`, as it stands on a method.
pub(crate) fn parse_attribute(attribute: &Attribute) -> Result<Options> {
    match &attribute.meta {
        Meta::Path(_) => Ok(Options::default()),
        Meta::List(_) => {
            attribute.parse_args_with(|input: ParseStream<'_>| options(input, Subject::Node))
        }
        Meta::NameValue(pair) => {
            Err(Error::new(pair.eq_token.span, "options stand in parentheses: #[node(cpus = 1)]"))
        }
    }
}

fn options(input: ParseStream<'_>, subject: Subject) -> Result<Options> {
    let mut options = Options::default();
    let mut seen: Vec<String> = Vec::new();
    while !input.is_empty() {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("this is not an option of {}", subject.of())));
        }
        let option = Ident::parse_any(input)?;
        let name = option.to_string();
        match name.as_str() {
            "cpus" => {
                equals(input, &name)?;
                options.cpus = Some(quantity::cpus(input)?);
            }
            "resources" => {
                if !input.peek(syn::token::Paren) {
                    return Err(input
                        .error("`resources` has parentheses: resources(label = 1, other = 0.25)"));
                }
                let content;
                parenthesized!(content in input);
                options.resources = resources(&content)?;
            }
            _ if name == subject.repeats() => {
                equals(input, &name)?;
                options.repeats = Some(quantity::repeats(input, &name)?);
            }
            "deadline" if matches!(subject, Subject::Node) => {
                equals(input, &name)?;
                options.deadline_ns = Some(quantity::deadline(input)?);
            }
            "priority" if matches!(subject, Subject::Node) => {
                equals(input, &name)?;
                options.priority = Some(quantity::priority(input)?);
            }
            "name" if matches!(subject, Subject::Node) => {
                equals(input, &name)?;
                options.name = Some(node_name(input)?);
            }
            _ => {
                let wrong = format!("`{name}` is not an option of {}", subject.of());
                return Err(Error::new(option.span(), wrong));
            }
        }
        if seen.contains(&name) {
            return Err(Error::new(option.span(), format!("`{name}` is given twice")));
        }
        seen.push(name);
        comma(input, "options")?;
    }
    Ok(options)
}

fn resources(input: ParseStream<'_>) -> Result<Vec<(String, i64)>> {
    let mut resources: Vec<(String, i64)> = Vec::new();
    while !input.is_empty() {
        let (label, span) = label(input)?;
        equals(input, &label)?;
        let quantity = quantity::resource(input)?;
        if resources.iter().any(|(other, _)| *other == label) {
            return Err(Error::new(span, format!("resource `{label}` is given twice")));
        }
        resources.push((label, quantity));
        comma(input, "resources")?;
    }
    Ok(resources)
}

fn label(input: ParseStream<'_>) -> Result<(String, Span)> {
    let (label, span) = if input.peek(LitStr) {
        let literal: LitStr = input.parse()?;
        (literal.value(), literal.span())
    } else if input.peek(Ident::peek_any) {
        let ident = Ident::parse_any(input)?;
        (ident.unraw().to_string(), ident.span())
    } else {
        return Err(input.error("a label is an identifier or a string, such as \"other label\""));
    };
    let wrong = match label.as_str() {
        "" => "a label is not empty".to_owned(),
        // They are counted by other means, and would seem to be requested here.
        "cpus" | "CPU" | "GPU" | "memory" => {
            format!("`{label}` is not a label: use `cpus = ..`, these names are reserved")
        }
        _ => return Ok((label, span)),
    };
    Err(Error::new(span, wrong))
}

fn node_name(input: ParseStream<'_>) -> Result<LitStr> {
    let wrong = "a name is a string that is not empty";
    if !input.peek(LitStr) {
        return Err(input.error(wrong));
    }
    let name: LitStr = input.parse()?;
    if name.value().is_empty() { Err(Error::new(name.span(), wrong)) } else { Ok(name) }
}

fn equals(input: ParseStream<'_>, name: &str) -> Result<()> {
    if !input.peek(Token![=]) {
        return Err(input.error(format!("`{name}` has a value: `{name} = ..`")));
    }
    input.parse::<Token![=]>().map(drop)
}

fn comma(input: ParseStream<'_>, what: &str) -> Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    if !input.peek(Token![,]) {
        return Err(input.error(format!("{what} are separated by commas")));
    }
    input.parse::<Token![,]>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<Options> {
        parse(text.parse().unwrap(), Subject::Node)
    }

    #[test]
    fn all_options_in_any_order() {
        let options =
            node("name = \"n\", resources(a = 1, \"b c\" = 0.25, type = 2,), max_retries = -1, cpus = 0.5, \
                  priority = -3, deadline = \"1.5s\",")
                .unwrap();
        assert_eq!((options.priority, options.deadline_ns), (Some(-3), Some(1_500_000_000)));
        assert_eq!(options.cpus, Some(5_000));
        let labels = [("a", 10_000), ("b c", 2_500), ("type", 20_000)];
        assert_eq!(options.resources, labels.map(|(label, units)| (label.to_owned(), units)));
        assert_eq!(options.repeats, Some(-1));
        assert_eq!(options.name.unwrap().value(), "n");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("gpus = 1", "`gpus` is not an option of a node"),
            ("max_restarts = 1", "`max_restarts` is not an option of a node"),
            ("3", "this is not an option of a node"),
            ("cpus", "has a value"),
            ("cpus = ", "a quantity is a number"),
            ("cpus = 1, cpus = 2", "given twice"),
            ("cpus = 1 max_retries = 2", "separated by commas"),
            ("cpus = 1 + 1", "separated by commas"),
            ("resources = 1", "has parentheses"),
            ("resources(a)", "has a value"),
            ("resources(a = 0)", "above 0"),
            ("resources(a = 1, \"a\" = 2)", "given twice"),
            ("resources(\"\" = 1)", "not empty"),
            ("resources(GPU = 1)", "reserved"),
            ("resources(1 = 1)", "a label is"),
            ("deadline = 2", "a deadline is a string"),
            ("deadline = \"2\"", "a deadline is a string"),
            ("deadline = \"0s\"", "a deadline is a string"),
            ("deadline = \"-1s\"", "a deadline is a string"),
            ("deadline = \"2 weeks\"", "a deadline is a string"),
            ("deadline", "has a value"),
            ("priority = 1.5", "a priority is an integer"),
            ("priority = 3000000000", "a priority is an integer"),
            ("priority = \"high\"", "a priority is an integer"),
            ("priority = 1, priority = 2", "given twice"),
            ("name = \"\"", "not empty"),
            ("name = x", "a name is a string"),
        ] {
            let error = node(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        for text in ["name = \"x\"", "priority = 1", "deadline = \"1s\""] {
            assert!(parse(text.parse().unwrap(), Subject::Actor).is_err(), "{text}");
        }
        assert!(parse("max_restarts = 2".parse().unwrap(), Subject::Actor).is_ok());
    }
}
