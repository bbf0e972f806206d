//! The descriptor: a static that a worker finds a function by, registered through the linker.
//!
//! ```text
//! caller: P::call(desc, body), Node::remote ──▶ desc.name ──▶ worker: NODES, the same descriptor
//!                                                             run: decode, call, complete or raise
//! ```

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::function::{Output, Param, decoded, passed};
use crate::options::Options;
use crate::private::private;
use crate::quantity;
use crate::types::Pass;

/// What the static is called. It stands in a block, so that it is in nobody's way; but types that
/// are named in there must not mean it.
pub(crate) fn ident() -> Ident {
    format_ident!("__MAILRING_DESC")
}

/// Lints that an expansion might set off, and that its user could do nothing about.
pub(crate) fn allowed() -> TokenStream {
    quote!(#[allow(
        dead_code,
        deprecated,
        private_bounds,
        private_interfaces,
        unreachable_code,
        unreachable_patterns,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::pedantic
    )])
}

/// What a descriptor says.
pub(crate) struct Desc<'a> {
    /// The function's own name; also where in the source it stands.
    pub(crate) function: &'a Ident,
    /// The whole name, as an expression.
    pub(crate) name: TokenStream,
    pub(crate) params: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) options: &'a Options,
    /// Statements that end with the outcome of a run.
    pub(crate) run: TokenStream,
    /// Statements that decode every argument.
    pub(crate) check: TokenStream,
    /// The type of the value, which a file may give in place of a run.
    pub(crate) value: TokenStream,
}

/// What a descriptor describes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Node,
    Constructor,
    Method,
}

impl Desc<'_> {
    /// The static.
    pub(crate) fn item(&self) -> TokenStream {
        let p = private();
        let Self { name, params, run, check, value, .. } = self;
        let (ident, call_context, args, allowed) = (ident(), call_context(), args(), allowed());
        let (probing, probe) = (probing(), probe(value));
        let bytes = Ident::new("__bytes", Span::mixed_site());
        // A line is that of the outermost expansion, unless the token is the user's.
        let at = self.function.span();
        let file = quote_spanned!(at=> ::core::file!());
        let line = quote_spanned!(at=> ::core::line!());
        let (kind, cpus, max_retries) = match self.kind {
            Kind::Node => ("Node", self.options.cpus.unwrap_or(quantity::ONE), 3),
            // -1: one to be placed, none while it lives.
            Kind::Constructor => ("Constructor", self.options.cpus.unwrap_or(-1), 0),
            // The actor holds what is needed.
            Kind::Method => ("Method", 0, 0),
        };
        let kind = format_ident!("{kind}");
        let cpus = number(cpus);
        let max_retries = number(self.options.repeats.unwrap_or(max_retries));
        let deadline_ns = Literal::u64_suffixed(self.options.deadline_ns.unwrap_or(0));
        let priority = Literal::i32_suffixed(self.options.priority.unwrap_or(0));
        let resources = self.options.resources.iter().map(|(label, units)| {
            let units = number(*units);
            quote!((#label, #units))
        });
        quote! {
            #[#p::linkme::distributed_slice(#p::NODES)]
            #[linkme(crate = #p::linkme)]
            #allowed
            static #ident: #p::NodeDesc = #p::NodeDesc {
                name: #name,
                file: #file,
                line: #line,
                params: &[#(#params),*],
                cpus: #cpus,
                resources: &[#(#resources),*],
                max_retries: #max_retries,
                deadline_ns: #deadline_ns,
                priority: #priority,
                kind: #p::Kind::#kind,
                run: |#call_context: &mut #p::CallContext<'_>| -> ::core::result::Result<(), #p::Raised> { #probing #run },
                check: |#args: &#p::RawArgs<'_>| -> ::core::result::Result<(), #p::BadArgument> {
                    #probing
                    #check
                    ::core::result::Result::Ok(())
                },
                read_data: |#call_context: &mut #p::CallContext<'_>, #bytes: &[u8]| -> ::core::result::Result<(), #p::Raised> {
                    #probing
                    #probe.read_data(#call_context, #bytes)
                },
            };
        }
    }
}

/// The name of a method's descriptor, with the module and the type.
pub(crate) fn method_name(ty: &Ident, function: &Ident) -> TokenStream {
    use syn::ext::IdentExt;
    let tail = format!("::{}::{}", ty.unraw(), function.unraw());
    quote!(::core::concat!(::core::module_path!(), #tail))
}

/// The frame of a run, invisible to the user's code.
pub(crate) fn call_context() -> Ident {
    Ident::new("__frame", Span::mixed_site())
}

fn args() -> Ident {
    Ident::new("__args", Span::mixed_site())
}

/// The outcome of the user's function.
pub(crate) fn outcome() -> Ident {
    Ident::new("__outcome", Span::mixed_site())
}

/// Statements that decode the parameters, counted from `first`, and what the function gets.
pub(crate) fn decode(params: &[Param], first: usize) -> (TokenStream, Vec<TokenStream>) {
    let call_context = call_context();
    let mut statements = TokenStream::new();
    let mut arguments = Vec::new();
    for (index, param) in params.iter().enumerate() {
        let (ident, ty) = (decoded(index), &param.travel.taken);
        let index = Literal::usize_unsuffixed(first + index);
        let (probe, assertion) = (probe(ty), &param.travel.assertion);
        let how = match param.travel.pass {
            Pass::Value => quote!(take),
            Pass::Reference => quote!(lend),
        };
        quote!(#assertion let #ident = #probe.#how(#call_context, #index)?;)
            .to_tokens(&mut statements);
        arguments.push(passed(param, &ident));
    }
    (statements, arguments)
}

/// What an expansion does with a type, whether or not that travels; see `probe` in the crate.
pub(crate) fn probe(ty: &TokenStream) -> TokenStream {
    let p = private();
    quote!((&&#p::probe::Probe::<#ty>::new()))
}

/// The methods of that.
pub(crate) fn probing() -> TokenStream {
    let p = private();
    quote! {
        #[allow(unused_imports)]
        use #p::probe::{Keeps as _, Lends as _, Stays as _, Travels as _};
    }
}

/// Statements that decode each of the types, and nothing more.
pub(crate) fn check<'a>(types: impl Iterator<Item = &'a TokenStream>) -> TokenStream {
    let args = args();
    let mut statements = quote!(let _ = #args;);
    for (index, ty) in types.enumerate() {
        let index = Literal::usize_unsuffixed(index);
        let probe = probe(ty);
        quote!(#probe.check(#args, #index)?;).to_tokens(&mut statements);
    }
    statements
}

/// What becomes of the outcome of a call: it is sent back, or raised.
pub(crate) fn completion(output: &Output) -> TokenStream {
    let call_context = call_context();
    let span = match output {
        Output::Unit => Span::call_site(),
        Output::Value(ty) | Output::Fallible(ty) => ty.span(),
    };
    // An error about the type is shown where the type stands.
    let at = span.resolved_at(Span::mixed_site());
    let (probe, assertion) = (probe(&output.value()), output.assertion());
    let sorted = sort(output, |value| quote_spanned!(at=> #probe.complete(#call_context, &#value)));
    quote!(#assertion #sorted)
}

/// `good` for a value; an error is raised.
pub(crate) fn sort(output: &Output, good: impl Fn(&Ident) -> TokenStream) -> TokenStream {
    let p = private();
    let outcome = outcome();
    let Output::Fallible(ty) = output else { return good(&outcome) };
    let value = Ident::new("__value", Span::mixed_site());
    let error = Ident::new("__error", Span::mixed_site());
    let tag = Ident::new("__tag", Span::mixed_site());
    let good = good(&value);
    let at = ty.span().resolved_at(Span::mixed_site());
    // Which of the traits applies depends on what the error can do; see `raise`.
    let text = quote_spanned!(at=> (&&&#tag).mailring_text());
    quote! {
        match #outcome {
            ::core::result::Result::Ok(#value) => #good,
            ::core::result::Result::Err(#error) => {
                #[allow(unused_imports)]
                use #p::raise::{
                    AsDeref as _, AsDisplay as _, AsError as _, Typed as _, Untyped as _,
                };
                let #tag = #p::raise::Tag(&#error);
                ::core::result::Result::Err(#tag.raised(#text, (&&#tag).mailring_payload()))
            }
        }
    }
}

/// A literal without a type, with its sign.
fn number(value: i64) -> TokenStream {
    let digits = Literal::u64_unsuffixed(value.unsigned_abs());
    if value < 0 { quote!(-#digits) } else { quote!(#digits) }
}
