//! Types of parameters and results: which owned type travels, which lifetimes cannot.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Error, Expr, GenericArgument, Lifetime, ParenthesizedGenericArguments, PathArguments, Result,
    Type, TypeBareFn, TypeImplTrait, TypeReference,
};

use crate::private::private;

/// How a parameter travels.
pub(crate) struct Travel {
    /// The type that callers hand over.
    pub(crate) owned: TokenStream,
    /// What a worker takes: that type, or what the function takes a reference to.
    pub(crate) taken: TokenStream,
    pub(crate) pass: Pass,
    /// What has to be said of it, where it stands.
    pub(crate) assertion: TokenStream,
}

/// How the function gets what was taken.
#[derive(Clone, Copy)]
pub(crate) enum Pass {
    /// As it is.
    Value,
    /// As a reference, to the bytes of the argument if it can be read there.
    Reference,
}

/// How a parameter of type `ty` travels, or why it cannot.
pub(crate) fn travel(ty: &Type) -> Result<Travel> {
    let ty = plain(ty);
    let Type::Reference(reference) = ty else {
        owned(ty)?;
        let tokens = quote!(#ty);
        let assertion = travels(ty, &tokens);
        return Ok(Travel { owned: tokens.clone(), taken: tokens, pass: Pass::Value, assertion });
    };
    if reference.mutability.is_some() {
        return Err(Error::new_spanned(
            reference,
            "a worker has a copy, so changes would be lost; take it by value and return it",
        ));
    }
    not_static(reference.lifetime.as_ref())?;
    let inner = plain(&reference.elem);
    let (given, assertion) = match inner {
        Type::TraitObject(_) => {
            return Err(Error::new_spanned(
                inner,
                "a worker has to know the type; name it instead of `dyn Trait`",
            ));
        }
        Type::Path(path) if path.path.is_ident("str") => {
            (quote!(::std::string::String), TokenStream::new())
        }
        Type::Slice(slice) => {
            let element = &*slice.elem;
            owned(element)?;
            (quote!(::std::vec::Vec<#element>), travels(element, &quote!(#element)))
        }
        Type::Path(_) => {
            owned(inner)?;
            let p = private();
            let at = inner.span().resolved_at(Span::mixed_site());
            (
                quote!(<#inner as #p::Owned>::Owned),
                quote_spanned!(at=> const _: () = #p::probe::lends::<#inner>();),
            )
        }
        _ => {
            owned(inner)?;
            (quote!(#inner), travels(inner, &quote!(#inner)))
        }
    };
    Ok(Travel { owned: given, taken: quote!(#inner), pass: Pass::Reference, assertion })
}

/// Says where a type stands that it travels.
pub(crate) fn travels(place: impl Spanned, ty: &TokenStream) -> TokenStream {
    let p = private();
    let at = place.span().resolved_at(Span::mixed_site());
    quote_spanned!(at=> const _: () = #p::probe::travels::<#ty>();)
}

/// A worker's copy of an argument ends with the call.
pub(crate) fn not_static(lifetime: Option<&Lifetime>) -> Result<()> {
    match lifetime {
        Some(lifetime) if lifetime.ident == "static" => Err(Error::new_spanned(
            lifetime,
            "a worker's copy ends with the call, it is not 'static; take a plain `&`",
        )),
        _ => Ok(()),
    }
}

/// Checks the type of a result: it outlives the call.
pub(crate) fn returned(ty: &Type) -> Result<()> {
    let wrong = "arguments end with the call; return an owned type";
    let mut look = Look { wrong, static_references: true, static_lifetimes: true, error: None };
    look.visit_type(ty);
    if let Some(error) = look.error {
        return Err(error);
    }
    // The value is decoded by whoever waits for it; an error may well be a `&'static str`.
    let value = result_value(ty).unwrap_or(ty);
    let wrong = "the caller is in another process; return an owned type, such as String or Vec";
    let mut look = Look { wrong, static_references: false, static_lifetimes: true, error: None };
    look.visit_type(value);
    look.error.map_or(Ok(()), Err)
}

/// `T` of a type that is called `Result<T, ..>`, wherever it comes from.
pub(crate) fn result_value(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = plain(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// A type without parentheses around it, visible or not.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(paren) => plain(&paren.elem),
        Type::Group(group) => plain(&group.elem),
        other => other,
    }
}

/// `Self` becomes the type: the items inside of an `impl` block's items cannot use it.
pub(crate) fn without_self(tokens: TokenStream, ty: &TokenStream) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => {
            let at = |mut token: TokenTree| {
                token.set_span(ident.span());
                token
            };
            ty.clone().into_iter().map(at).collect()
        }
        TokenTree::Group(group) => {
            let mut replaced = Group::new(group.delimiter(), without_self(group.stream(), ty));
            replaced.set_span(group.span());
            TokenTree::Group(replaced).into_token_stream()
        }
        other => other.into_token_stream(),
    };
    tokens.into_iter().flat_map(replace).collect()
}

/// Checks a type that is decoded: it borrows nothing.
fn owned(ty: &Type) -> Result<()> {
    let wrong = "this borrows, and a worker decodes a copy; take an owned type";
    let mut look = Look { wrong, static_references: false, static_lifetimes: false, error: None };
    look.visit_type(ty);
    look.error.map_or(Ok(()), Err)
}

/// Looks for what cannot travel. What a function pointer takes is not looked at, nor lengths of
/// arrays: an `&` means something else there.
struct Look {
    wrong: &'static str,
    static_references: bool,
    static_lifetimes: bool,
    error: Option<Error>,
}

impl Look {
    fn refuse(&mut self, tokens: impl ToTokens, wrong: &str) {
        if self.error.is_none() {
            self.error = Some(Error::new_spanned(tokens, wrong));
        }
    }
}

impl<'a> Visit<'a> for Look {
    fn visit_lifetime(&mut self, lifetime: &'a Lifetime) {
        if !(self.static_lifetimes && lifetime.ident == "static") {
            self.refuse(lifetime, self.wrong);
        }
    }

    fn visit_type_reference(&mut self, reference: &'a TypeReference) {
        let fixed = reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static");
        if self.static_references && fixed {
            visit::visit_type_reference(self, reference);
        } else {
            self.refuse(reference, self.wrong);
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'a TypeImplTrait) {
        self.refuse(ty, "a worker has to know the type; name it instead of `impl Trait`");
    }

    fn visit_type_bare_fn(&mut self, _: &'a TypeBareFn) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &'a ParenthesizedGenericArguments) {}

    fn visit_expr(&mut self, _: &'a Expr) {}
}
