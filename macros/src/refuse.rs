//! What the attributes refuse, and in which words: every file of `tests/refuse` is a program with
//! one mistake under an attribute, and begins with the message.

use std::fs;
use std::path::Path;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item};

/// The message of the first error in an expansion.
fn message(expansion: TokenStream) -> Option<String> {
    let text = expansion.to_string();
    let behind = text.split_once("compile_error ! {")?.1;
    let literal: syn::LitStr = syn::parse_str(behind.split_once('}')?.0.trim()).ok()?;
    Some(literal.value())
}

/// The last part of its path.
fn name_of(attribute: &Attribute) -> String {
    attribute.path().segments.last().map_or_else(String::new, |last| last.ident.to_string())
}

/// Whether it is one of the three; if so, it is taken away.
fn take(attributes: &mut Vec<Attribute>) -> Option<Attribute> {
    let is_ours =
        |attribute: &Attribute| ["node", "nodes", "actor"].contains(&name_of(attribute).as_str());
    let at = attributes.iter().position(is_ours)?;
    Some(attributes.remove(at))
}

/// Expands the first attribute of ours, as the compiler would.
fn expand(source: &str) -> TokenStream {
    for item in syn::parse_file(source).expect("a program").items {
        match item {
            Item::Fn(mut function) => {
                if let Some(attribute) = take(&mut function.attrs) {
                    return by_name(&attribute, function.into_token_stream());
                }
            }
            Item::Impl(mut block) => {
                if let Some(attribute) = take(&mut block.attrs) {
                    return by_name(&attribute, block.into_token_stream());
                }
                for item in block.items {
                    let syn::ImplItem::Fn(mut method) = item else { continue };
                    if let Some(attribute) = take(&mut method.attrs) {
                        return by_name(&attribute, method.into_token_stream());
                    }
                }
            }
            _ => {}
        }
    }
    panic!("no attribute of ours");
}

fn by_name(attribute: &Attribute, item: TokenStream) -> TokenStream {
    let options = match &attribute.meta {
        syn::Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    match name_of(attribute).as_str() {
        "node" => crate::node::expand(options, item),
        "nodes" => crate::nodes::expand(options, item),
        _ => crate::actor::expand(options, item),
    }
}

#[test]
fn flow_refuses_with_a_message_that_says_what_is_allowed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refuse");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("the cases") {
        let path = entry.expect("a case").path();
        let source = fs::read_to_string(&path).expect("a case");
        let expected = source.lines().next().and_then(|line| line.strip_prefix("// "));
        assert_eq!(message(expand(&source)).as_deref(), expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 17, "{count} cases");
}
