//! `#[nodes]` on an `impl` block: a constant beside each method with `#[node]`, by which it is
//! called on a worker. The receiver is the first argument.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, Result, Type, parse2};

use crate::desc::{self, Desc, Kind};
use crate::function::{self, Function, Receiver, Shape, cfgs, with_error};
use crate::options::{self, Options};
use crate::private::private;
use crate::types::{plain, travels, without_self};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut block = match impl_block(item.clone(), "nodes") {
        Ok(block) => block,
        Err(error) => return with_error(item, &error),
    };
    let mut errors = plain_struct(&block).map(drop).err();
    let refused = errors.is_some();
    if !options.is_empty() {
        let wrong = "`nodes` has no options; they stand at the #[node] of each method";
        join(&mut errors, Error::new_spanned(options, wrong));
    }
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        // Taken away in any case: it is not an attribute for a method alone.
        let Some(attribute) = take_attribute(method) else { continue };
        if refused {
            continue; // nothing more to say about its methods
        }
        match node(&attribute, method, &block.self_ty) {
            Ok(expanded) => *item = ImplItem::Verbatim(expanded),
            Err(error) => join(&mut errors, error),
        }
    }
    match errors {
        None => block.into_token_stream(),
        Some(error) => with_error(block.into_token_stream(), &error),
    }
}

/// Parses an `impl` block under `attribute`.
pub(crate) fn impl_block(item: TokenStream, attribute: &str) -> Result<ItemImpl> {
    parse2(item).map_err(|error| {
        let wrong = format!("#[{attribute}] stands on an impl block: {error}");
        Error::new(error.span(), wrong)
    })
}

/// The name of the struct, if the block is an inherent one of a struct without generics.
pub(crate) fn plain_struct(block: &ItemImpl) -> Result<&Ident> {
    if let Some((_, path, _)) = &block.trait_ {
        let wrong = "a method of a trait has no place for what is added; use an `impl Type` block";
        return Err(Error::new_spanned(path, wrong));
    }
    if !block.generics.params.is_empty() {
        let wrong = "a worker has to know the types; the struct cannot be generic";
        return Err(Error::new_spanned(&block.generics, wrong));
    }
    plain_struct_name(&block.self_ty).ok_or_else(|| {
        Error::new_spanned(&block.self_ty, "this is not a plain struct without generics")
    })
}

fn plain_struct_name(ty: &Type) -> Option<&Ident> {
    let Type::Path(path) = plain(ty) else { return None };
    let bare = path.path.segments.iter().all(|segment| segment.arguments.is_none());
    let last = path.path.segments.last().filter(|_| bare && path.qself.is_none())?;
    Some(&last.ident)
}

/// Adds an error to those that there are.
pub(crate) fn join(errors: &mut Option<Error>, error: Error) {
    match errors {
        Some(errors) => errors.combine(error),
        None => *errors = Some(error),
    }
}

/// Takes `#[node]` or `#[node(..)]` off a method, by whatever path it is called.
fn take_attribute(method: &mut ImplItemFn) -> Option<Attribute> {
    let is_node = |attribute: &Attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "node")
    };
    let index = method.attrs.iter().position(is_node)?;
    Some(method.attrs.remove(index))
}

fn node(attribute: &Attribute, method: &ImplItemFn, ty: &Type) -> Result<TokenStream> {
    let options = options::parse_attribute(attribute)?;
    function::not_const(&method.sig)?;
    let ty_tokens = ty.to_token_stream();
    let shape = function::shape(&parse2(without_self(method.sig.to_token_stream(), &ty_tokens))?)?;
    if let Some((Receiver::Exclusive, receiver)) = &shape.receiver {
        let wrong = "a worker has a copy of the receiver, so changes would be lost; take `self` \
                     and return it, or make the type an actor";
        return Err(Error::new_spanned(receiver, wrong));
    }
    function::limit(method.sig.inputs.iter())?;
    Ok(expansion(&options, &Function::from(method), &shape, ty))
}

fn expansion(options: &Options, function: &Function, shape: &Shape, ty: &Type) -> TokenStream {
    let p = private();
    let (name, vis) = (&function.sig.ident, &function.vis);
    let constant = format_ident!("{}", name.unraw().to_string().to_uppercase(), span = name.span());
    let (desc_ident, allowed, cfgs) = (desc::ident(), desc::allowed(), cfgs(&function.outer));
    let desc = descriptor(options, function, shape, ty).item();
    let as_written = function.as_written(&quote!(Self::#constant));

    let receiver = shape.receiver.as_ref().map(|_| quote!(#ty,));
    let owned = shape.params.iter().map(|param| &param.travel.owned);
    let value = shape.output.value();
    let what = format!("The node `{}`: the same method, to be called on a worker.", name.unraw());
    quote! {
        #as_written

        #(#cfgs)*
        #[doc = #what]
        #allowed
        #vis const #constant: #p::Node<(#receiver #(#owned,)*), #value> = {
            #desc
            #p::Node::new(&#desc_ident)
        };
    }
}

fn descriptor<'a>(
    options: &'a Options,
    function: &'a Function,
    shape: &Shape,
    ty: &Type,
) -> Desc<'a> {
    let method = &function.sig.ident;
    let name = match (&options.name, plain_struct_name(ty)) {
        (Some(given), _) => quote!(#given),
        (None, Some(ty)) => desc::method_name(ty, method),
        (None, None) => unreachable!("the type has been looked at"),
    };
    let call_context = desc::call_context();
    let (outcome, completion) = (desc::outcome(), desc::completion(&shape.output));
    let local = Ident::new("__receiver", proc_macro2::Span::mixed_site());
    // The receiver travels like any other argument, before them.
    let mut names = Vec::new();
    let (mut take, mut pass, mut receiver) = (None, None, None);
    if let Some((how, _)) = &shape.receiver {
        names.push("self".to_owned());
        receiver = Some(ty.to_token_stream());
        let tokens = ty.to_token_stream();
        let (probe, assertion) = (desc::probe(&tokens), travels(ty, &tokens));
        take = Some(quote!(#assertion let #local = #probe.take(#call_context, 0)?;));
        pass =
            Some(if matches!(how, Receiver::Value) { quote!(#local,) } else { quote!(&#local,) });
    }
    let (decode, arguments) = desc::decode(&shape.params, names.len());
    names.extend(shape.params.iter().map(function::Param::text));
    let types = receiver.iter().chain(shape.params.iter().map(|param| &param.travel.owned));
    let check = desc::check(types);
    Desc {
        function: method,
        name,
        params: names,
        kind: Kind::Node,
        options,
        run: quote! {
            #take
            #decode
            let #outcome = <#ty>::#method(#pass #(#arguments),*);
            #completion
        },
        check,
        value: shape.output.value(),
    }
}
