//! `#[node]` on a free function: the function as before, and a type of the same name with what is
//! needed to call it on a worker. The type has braces, so that it is not a value: the two share a
//! name.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Error, FnArg, Result, parse2};

use crate::desc::{self, Desc, Kind};
use crate::function::{self, Function, Shape, with_error};
use crate::options::{self, Options, Subject};
use crate::private::private;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    if function::starts_like_impl(&item) {
        let wrong = "#[node] stands on functions; put #[nodes] on the impl block, and #[node] on \
                     its methods";
        return with_error(item, &Error::new(proc_macro2::Span::call_site(), wrong));
    }
    let function = match parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let wrong = format!("#[node] stands on a function with a body: {error}");
            return with_error(item, &Error::new(error.span(), wrong));
        }
    };
    match node(options, &function) {
        Ok(expanded) => expanded,
        Err(error) => with_error(item, &error),
    }
}

fn node(options: TokenStream, function: &Function) -> Result<TokenStream> {
    let options = options::parse(options, Subject::Node)?;
    let sig = &function.sig;
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        let wrong = "a free function has no `self`; put #[nodes] on the impl block";
        return Err(Error::new_spanned(receiver, wrong));
    }
    function::not_const(sig)?;
    let shape = function::shape(sig)?;
    function::limit(sig.inputs.iter())?;
    Ok(expansion(&options, function, &shape))
}

fn expansion(options: &Options, function: &Function, shape: &Shape) -> TokenStream {
    let p = private();
    let (name, vis) = (&function.sig.ident, &function.vis);
    let (desc_ident, allowed, cfgs) = (desc::ident(), desc::allowed(), function.cfgs());
    let desc = descriptor(options, function, shape).item();
    let as_written = function.as_written(&quote!(#name::NODE));

    let params: Vec<_> = shape.params.iter().map(|param| &param.name).collect();
    let owned: Vec<_> = shape.params.iter().map(|param| &param.travel.owned).collect();
    let value = shape.output.value();
    let (probe, probing) = (desc::probe(&value), desc::probing());
    // A parameter may have the same name: this one is another.
    let flow = syn::Ident::new("flow", proc_macro2::Span::mixed_site());
    let what =
        format!("The node `{0}`: the same function, to be called on a worker.", name.unraw());
    quote! {
        #as_written

        #(#cfgs)*
        #[doc = #what]
        #[allow(non_camel_case_types, missing_copy_implementations, missing_debug_implementations)]
        #allowed
        #vis struct #name {}

        #(#cfgs)*
        #allowed
        impl #name {
            /// The node itself, as a value.
            #vis const NODE: #p::Node<(#(#owned,)*), #value> = {
                #desc
                #p::Node::new(&#desc_ident)
            };

            /// Dispatches a call to a worker. An argument is a value, or a reference to the result
            /// of another call, which is then waited for there.
            #vis fn remote(
                #flow: &#p::Flow,
                #(#params: impl #p::IntoArg<#owned>,)*
            ) -> ::core::result::Result<#p::ObjectRef<#value>, #p::Error> {
                Self::NODE.remote(#flow, #(#params),*)
            }

            /// The same, and waits for the result.
            #vis fn remote_blocking(
                #flow: &#p::Flow,
                #(#params: impl #p::IntoArg<#owned>,)*
            ) -> ::core::result::Result<#value, #p::Error> {
                #probing
                #probe.get(Self::NODE.remote(#flow, #(#params),*)?)
            }

            /// A call with other options than those of the attribute.
            #vis fn options() -> #p::Call<(#(#owned,)*), #value> {
                Self::NODE.options()
            }
        }
    }
}

fn descriptor<'a>(options: &'a Options, function: &'a Function, shape: &Shape) -> Desc<'a> {
    let name = &function.sig.ident;
    let whole = match &options.name {
        Some(given) => quote!(#given),
        None => {
            let name = name.unraw().to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #name))
        }
    };
    let (decode, arguments) = desc::decode(&shape.params, 0);
    let (outcome, completion) = (desc::outcome(), desc::completion(&shape.output));
    Desc {
        function: name,
        name: whole,
        params: shape.params.iter().map(function::Param::text).collect(),
        kind: Kind::Node,
        options,
        run: quote! {
            #decode
            let #outcome = #name(#(#arguments),*);
            #completion
        },
        check: desc::check(shape.params.iter().map(|param| &param.travel.owned)),
        value: shape.output.value(),
    }
}
