//! `#[actor]` on an `impl` block: the block as it is, and a handle beside it, with a function for
//! each constructor and a method for each call.

use std::collections::HashMap;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{
    Error, ImplItem, ImplItemFn, ItemImpl, Result, ReturnType, Signature, Type, Visibility, parse2,
};

use crate::desc::{self, Desc, Kind};
use crate::function::{self, Param, Receiver, Shape, cfgs, with_error};
use crate::nodes::{impl_block, join, plain_struct};
use crate::options::{self, Options, Subject};
use crate::private::private;
use crate::types::{plain, result_value, without_self};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = impl_block(item.clone(), "actor").and_then(|block| actor(options, &block));
    match expanded {
        Ok(handle) => quote!(#item #handle),
        Err(error) => with_error(item, &error),
    }
}

fn actor(options: TokenStream, block: &ItemImpl) -> Result<TokenStream> {
    let options = options::parse(options, Subject::Actor)?;
    let name = plain_struct(block)?;
    let mut members = Vec::new();
    let mut errors = None;
    for item in &block.items {
        let ImplItem::Fn(method) = item else { continue };
        match member(method, &block.self_ty, name) {
            Ok(found) => members.extend(found),
            Err(error) => join(&mut errors, error),
        }
    }
    if let Err(error) = names(&members) {
        join(&mut errors, error);
    }
    if errors.is_none() && !members.iter().any(|member| member.constructs()) {
        let wrong = "an actor has a constructor: a `pub fn` without receiver that returns `Self` \
                     or `Result<Self, E>`";
        errors = Some(Error::new_spanned(&block.self_ty, wrong));
    }
    match errors {
        None => Ok(handle(&options, block, name, &members)),
        Some(error) => Err(error),
    }
}

/// A function that the handle has, too.
struct Member<'a> {
    method: &'a ImplItemFn,
    shape: Shape,
}

impl Member<'_> {
    fn constructs(&self) -> bool {
        self.shape.receiver.is_none()
    }
}

/// What the handle gets for a function of the block, if anything.
fn member<'a>(method: &'a ImplItemFn, ty: &Type, name: &Ident) -> Result<Option<Member<'a>>> {
    if !matches!(method.vis, Visibility::Public(_)) {
        return Ok(None);
    }
    if method.sig.receiver().is_none() && !returns(&method.sig, ty, name) {
        return Ok(None); // a helper, which needs no actor
    }
    let sig = without_self(method.sig.to_token_stream(), &ty.to_token_stream());
    let shape = function::shape(&parse2(sig)?)?;
    if let Some((Receiver::Value, receiver)) = &shape.receiver {
        let wrong = "an actor lives on after a call; take `&self` or `&mut self`, or make the \
                     function private";
        return Err(Error::new_spanned(receiver, wrong));
    }
    let receivers = usize::from(shape.receiver.is_some());
    function::limit(method.sig.inputs.iter().skip(receivers))?;
    Ok(Some(Member { method, shape }))
}

/// Whether a function returns the type, or a `Result` of it.
fn returns(sig: &Signature, ty: &Type, name: &Ident) -> bool {
    let ReturnType::Type(_, output) = &sig.output else { return false };
    let value = plain(result_value(output).unwrap_or(output));
    let Type::Path(path) = value else { return false };
    path.path.is_ident("Self")
        || path.path.is_ident(name)
        || value.to_token_stream().to_string() == ty.to_token_stream().to_string()
}

/// The names in the handle's own block are all different, also those that are added.
fn names(members: &[Member<'_>]) -> Result<()> {
    let mut taken = HashMap::from([("raw".to_owned(), "the way to the handle inside".to_owned())]);
    for member in members.iter().filter(|member| member.constructs()) {
        let name = member.method.sig.ident.unraw().to_string();
        taken.insert(format!("{name}_with"), format!("`{name}` with options"));
    }
    for member in members {
        let ident = &member.method.sig.ident;
        if let Some(what) = taken.get(&ident.unraw().to_string()) {
            let wrong = format!("the handle has a function `{ident}` already: {what}; rename this");
            return Err(Error::new(ident.span(), wrong));
        }
    }
    Ok(())
}

fn handle(
    options: &Options,
    block: &ItemImpl,
    name: &Ident,
    members: &[Member<'_>],
) -> TokenStream {
    let p = private();
    let ty = &block.self_ty;
    let (allowed, cfgs) = (desc::allowed(), cfgs(&block.attrs));
    let handle = format_ident!("{}Actor", name.unraw(), span = name.span());
    let text = handle.to_string();
    let what = format!("A handle to a `{}` that lives on a worker.", name.unraw());
    let functions = members.iter().map(|member| match member.constructs() {
        true => constructor(options, ty, name, member),
        false => call(ty, name, member),
    });
    quote! {
        #(#cfgs)*
        #[doc = #what]
        #allowed
        pub struct #handle(#p::ActorHandle<#ty>);

        #(#cfgs)*
        #allowed
        impl #handle {
            #(#functions)*

            /// The handle inside, which knows no functions by name.
            pub fn raw(&self) -> &#p::ActorHandle<#ty> {
                &self.0
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl ::core::clone::Clone for #handle {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl ::core::fmt::Debug for #handle {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_tuple(#text).field(&self.0).finish()
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl #p::serde::Serialize for #handle {
            fn serialize<S: #p::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                #p::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl<'de> #p::serde::Deserialize<'de> for #handle {
            fn deserialize<D: #p::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::core::result::Result::map(
                    #p::serde::Deserialize::deserialize(deserializer),
                    Self,
                )
            }
        }
    }
}

fn constructor(options: &Options, ty: &Type, name: &Ident, member: &Member<'_>) -> TokenStream {
    let p = private();
    let function = &member.method.sig.ident;
    let (outcome, call_context) = (desc::outcome(), desc::call_context());
    let (decode, arguments) = desc::decode(&member.shape.params, 0);
    let keep =
        desc::sort(&member.shape.output, |state| quote!(#call_context.keep_actor::<#ty>(#state)));
    let run = quote! {
        #decode
        let #outcome = <#ty>::#function(#(#arguments),*);
        #keep
    };
    let desc = descriptor(options, Kind::Constructor, name, member, run);
    let (constant, cfgs) = (constant(function), cfgs(&member.method.attrs));
    let (params, owned) = signature(&member.shape.params);
    let with = format_ident!("{}_with", function.unraw(), span = function.span());
    let put = put(&member.shape.params);
    let (flow, given) = (local("flow"), local("options"));
    let what =
        format!("Makes an actor with `{}::{}`, on a worker.", name.unraw(), function.unraw());
    quote! {
        #(#cfgs)*
        const #constant: &'static #p::NodeDesc = #desc;

        #(#cfgs)*
        #[doc = #what]
        pub fn #function(
            #flow: &#p::Flow,
            #(#params: impl #p::IntoArg<#owned>,)*
        ) -> ::core::result::Result<Self, #p::Error> {
            Self::#with(#flow, &::core::default::Default::default(), #(#params),*)
        }

        #(#cfgs)*
        #[doc = #what]
        ///
        /// With other options than those of the attribute.
        pub fn #with(
            #flow: &#p::Flow,
            #given: &#p::ActorOptions,
            #(#params: impl #p::IntoArg<#owned>,)*
        ) -> ::core::result::Result<Self, #p::Error> {
            ::core::result::Result::map(
                #p::ActorHandle::<#ty>::spawn(#flow, Self::#constant, #given, #put),
                Self,
            )
        }
    }
}

fn call(ty: &Type, name: &Ident, member: &Member<'_>) -> TokenStream {
    let p = private();
    let function = &member.method.sig.ident;
    let (outcome, call_context, state) = (desc::outcome(), desc::call_context(), local("__state"));
    let (decode, arguments) = desc::decode(&member.shape.params, 0);
    let completion = desc::completion(&member.shape.output);
    let (mutability, borrow) = match member.shape.receiver {
        Some((Receiver::Exclusive, _)) => (quote!(mut), quote!(&mut *#state)),
        _ => (quote!(), quote!(&*#state)),
    };
    let run = quote! {
        #decode
        // The state is free again before the completion is written.
        let #outcome = {
            let #mutability #state = #call_context.actor::<#ty>()?;
            <#ty>::#function(#borrow, #(#arguments),*)
        };
        #completion
    };
    let none = Options::default();
    let desc = descriptor(&none, Kind::Method, name, member, run);
    let (constant, cfgs) = (constant(function), cfgs(&member.method.attrs));
    let (params, owned) = signature(&member.shape.params);
    let (value, put) = (member.shape.output.value(), put(&member.shape.params));
    let what = format!("A call of `{}::{}`.", name.unraw(), function.unraw());
    quote! {
        #(#cfgs)*
        const #constant: &'static #p::NodeDesc = #desc;

        #(#cfgs)*
        #[doc = #what]
        pub fn #function(
            &self,
            #(#params: impl #p::IntoArg<#owned>,)*
        ) -> #p::ActorCall<#value> {
            self.0.call(Self::#constant, #put)
        }
    }
}

/// The static, as an expression that refers to it.
fn descriptor(
    options: &Options,
    kind: Kind,
    ty: &Ident,
    member: &Member<'_>,
    run: TokenStream,
) -> TokenStream {
    let function = &member.method.sig.ident;
    let params = &member.shape.params;
    let item = Desc {
        function,
        name: desc::method_name(ty, function),
        params: params.iter().map(Param::text).collect(),
        kind,
        options,
        run,
        check: desc::check(params.iter().map(|param| &param.travel.owned)),
        value: quote!(()), // calls of actors always run
    }
    .item();
    let ident = desc::ident();
    quote!({ #item &#ident })
}

fn signature(params: &[Param]) -> (Vec<&Ident>, Vec<&TokenStream>) {
    params.iter().map(|param| (&param.name, &param.travel.owned)).unzip()
}

/// Writes what was given for the parameters.
fn put(params: &[Param]) -> TokenStream {
    let (p, writer) = (private(), local("writer"));
    let (params, owned) = signature(params);
    quote! {
        move |#writer| {
            let _ = &#writer;
            #(#p::IntoArg::<#owned>::put(#params, #writer);)*
        }
    }
}

/// The constant of the handle that refers to a function's descriptor.
fn constant(function: &Ident) -> Ident {
    format_ident!("DESC_{}", function.unraw().to_string().to_uppercase(), span = function.span())
}

/// A name that no parameter is.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
