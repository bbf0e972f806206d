//! A function under an attribute, and the shape of its signature. What cannot run on a worker is
//! refused here, where it stands in the source.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned as _;
use syn::{
    AttrStyle, Attribute, Error, FnArg, GenericParam, ImplItemFn, Pat, Result, ReturnType,
    Signature, Token, Type, Visibility, braced,
};

use crate::private::private;
use crate::types::{self, Pass, Travel};

/// The most parameters there are: callers have a method for each number of them.
pub(crate) const MAX_PARAMS: usize = 8;

/// A function with its body, which stays as it is written.
pub(crate) struct Function {
    pub(crate) outer: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    inner: Vec<Attribute>,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let outer = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let content;
        let brace = braced!(content in input);
        let inner = content.call(Attribute::parse_inner)?;
        let body = braces(content.parse()?, brace.span.join());
        Ok(Self { outer, vis, sig, inner, body })
    }
}

impl From<&ImplItemFn> for Function {
    fn from(method: &ImplItemFn) -> Self {
        let (outer, inner) = method
            .attrs
            .iter()
            .cloned()
            .partition(|attribute| matches!(attribute.style, AttrStyle::Outer));
        let statements = &method.block.stmts;
        let body = braces(quote!(#(#statements)*), method.block.brace_token.span.join());
        Self { outer, vis: method.vis.clone(), sig: method.sig.clone(), inner, body }
    }
}

impl Function {
    /// The function as before, which says to the profile that `node` is called. Without one that is
    /// a load and a branch.
    pub(crate) fn as_written(&self, node: &TokenStream) -> TokenStream {
        let Self { outer, vis, sig, inner, body } = self;
        let p = private();
        let call = Ident::new("__call", Span::mixed_site());
        let noted = quote!(let #call = #p::local_call(#node.desc()););
        let body = braces(quote!(#(#inner)* #noted #body), body.span());
        quote!(#(#outer)* #vis #sig #body)
    }

    /// Attributes that decide whether it is there at all.
    pub(crate) fn cfgs(&self) -> Vec<Attribute> {
        cfgs(&self.outer)
    }
}

/// `#[cfg(..)]` among attributes.
pub(crate) fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

fn braces(content: TokenStream, span: Span) -> Group {
    let mut group = Group::new(Delimiter::Brace, content);
    group.set_span(span);
    group
}

/// How a method takes its receiver.
#[derive(Clone, Copy)]
pub(crate) enum Receiver {
    Shared,
    Exclusive,
    Value,
}

/// One parameter that is not a receiver.
pub(crate) struct Param {
    pub(crate) name: Ident,
    pub(crate) travel: Travel,
}

impl Param {
    /// The name as it is read, without `r#`.
    pub(crate) fn text(&self) -> String {
        self.name.unraw().to_string()
    }
}

/// A signature that a worker can serve.
pub(crate) struct Shape {
    pub(crate) receiver: Option<(Receiver, TokenStream)>,
    pub(crate) params: Vec<Param>,
    pub(crate) output: Output,
}

/// What a function returns.
pub(crate) enum Output {
    Unit,
    Value(Type),
    /// A `Result`, under whatever name.
    Fallible(Type),
}

impl Output {
    /// Says that the result travels.
    pub(crate) fn assertion(&self) -> TokenStream {
        match self {
            Self::Unit => TokenStream::new(),
            Self::Value(ty) | Self::Fallible(ty) => types::travels(ty, &self.value()),
        }
    }

    /// The type of a reference to the result.
    pub(crate) fn value(&self) -> TokenStream {
        let p = private();
        match self {
            Self::Unit => quote!(()),
            Self::Value(ty) => quote!(#ty),
            Self::Fallible(ty) => {
                let at = ty.span().resolved_at(Span::mixed_site()); // where errors point to
                quote_spanned!(at=> <#ty as #p::Fallible>::Value)
            }
        }
    }
}

/// Looks at a signature, in which `Self` has been replaced.
pub(crate) fn shape(sig: &Signature) -> Result<Shape> {
    qualifiers(sig)?;
    let mut receiver = None;
    let mut params = Vec::new();
    for input in &sig.inputs {
        match input {
            FnArg::Receiver(found) => receiver = Some(take_receiver(found)?),
            FnArg::Typed(found) => {
                no_cfg(&found.attrs)?;
                let name = param_name(&found.pat)?;
                params.push(Param { name, travel: types::travel(&found.ty)? });
            }
        }
    }
    let output = match &sig.output {
        ReturnType::Default => Output::Unit,
        ReturnType::Type(_, ty) => {
            types::returned(ty)?;
            match types::result_value(ty) {
                Some(_) => Output::Fallible((**ty).clone()),
                None => Output::Value((**ty).clone()),
            }
        }
    };
    Ok(Shape { receiver, params, output })
}

/// Refuses the parameters beyond the limit. Whether the receiver is one of them differs.
pub(crate) fn limit<'a>(mut inputs: impl Iterator<Item = &'a FnArg>) -> Result<()> {
    match inputs.nth(MAX_PARAMS) {
        Some(input) => {
            let wrong = format!(
                "there are {MAX_PARAMS} parameters at most; put some of them into a struct"
            );
            Err(Error::new_spanned(input, wrong))
        }
        None => Ok(()),
    }
}

/// Names for what is decoded, which clash with nothing in the user's code.
pub(crate) fn decoded(index: usize) -> Ident {
    format_ident!("__decoded_{index}", span = Span::mixed_site())
}

/// What the function is called with, for a parameter that was decoded into `ident`.
pub(crate) fn passed(param: &Param, ident: &Ident) -> TokenStream {
    match param.travel.pass {
        Pass::Value => quote!(#ident),
        Pass::Reference => quote!(&*#ident),
    }
}

fn qualifiers(sig: &Signature) -> Result<()> {
    let refuse = |tokens: &dyn ToTokens, wrong| Err(Error::new_spanned(tokens, wrong));
    if let Some(token) = &sig.asyncness {
        return refuse(token, "a worker runs a function to its end; it cannot be async");
    }
    if let Some(token) = &sig.unsafety {
        return refuse(token, "a worker cannot keep the promises that an unsafe function asks for");
    }
    if let Some(token) = &sig.abi {
        return refuse(token, "arguments travel as Rust values; take away the calling convention");
    }
    if let Some(token) = &sig.variadic {
        return refuse(token, "a worker has to know how many arguments there are");
    }
    for param in &sig.generics.params {
        if !matches!(param, GenericParam::Lifetime(_)) {
            return refuse(param, "a worker has to know the types; it cannot be generic");
        }
    }
    Ok(())
}

/// Refuses `const fn`, for functions whose body is changed.
pub(crate) fn not_const(sig: &Signature) -> Result<()> {
    match &sig.constness {
        Some(token) => Err(Error::new_spanned(
            token,
            "a call of a node is seen by its flow, at run time; it cannot be const",
        )),
        None => Ok(()),
    }
}

fn take_receiver(found: &syn::Receiver) -> Result<(Receiver, TokenStream)> {
    no_cfg(&found.attrs)?;
    if found.colon_token.is_some() {
        return Err(Error::new_spanned(found, "write the receiver as `self` or `&self`"));
    }
    let receiver = match (&found.reference, &found.mutability) {
        (Some((_, lifetime)), mutability) => {
            types::not_static(lifetime.as_ref())?;
            if mutability.is_some() { Receiver::Exclusive } else { Receiver::Shared }
        }
        (None, _) => Receiver::Value,
    };
    Ok((receiver, quote!(#found)))
}

/// A descriptor lists all parameters; it is written before they are sorted out.
fn no_cfg(attributes: &[Attribute]) -> Result<()> {
    let conditional = |path: &syn::Path| path.is_ident("cfg") || path.is_ident("cfg_attr");
    match attributes.iter().find(|attribute| conditional(attribute.path())) {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            "a parameter is there or not; put the condition on the function",
        )),
        None => Ok(()),
    }
}

fn param_name(pat: &Pat) -> Result<Ident> {
    match pat {
        Pat::Ident(ident) if ident.by_ref.is_none() && ident.subpat.is_none() => {
            Ok(ident.ident.clone())
        }
        _ => Err(Error::new_spanned(
            pat,
            "a parameter has a name, by which reports call it; take it apart in the body",
        )),
    }
}

/// The tokens with an error behind them: the item stays, so that nothing else is missed.
pub(crate) fn with_error(item: TokenStream, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}

/// Whether an `impl` block stands there, where a function should.
pub(crate) fn starts_like_impl(item: &TokenStream) -> bool {
    let ahead = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        let found =
            input.peek(Token![impl]) || input.peek(Token![unsafe]) && input.peek2(Token![impl]);
        input.parse::<TokenStream>()?;
        Ok(found)
    };
    ahead.parse2(item.clone()).unwrap_or(false)
}
