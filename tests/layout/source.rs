//! A package as files that use each other, read from its source.
//!
//! A file uses another when it names something that is defined there, by a `use` or a path. A name
//! that was re-exported counts for the file that defines it, so `mod.rs` may collect the names of
//! its children, and the children may use what `mod.rs` itself defines, or the other way round, but
//! not both. Tests (`#[cfg(test)]`), attributes and documentation are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// One file names what another defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) path: String,
}

/// An `impl` of a type's own functions in a file that does not define the type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForeignImpl {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: String,
    /// Where the type is defined.
    pub(crate) home: String,
}

/// What was read. Files are named by their path below the source directory.
pub(crate) struct Source {
    pub(crate) files: BTreeMap<String, String>,
    /// The first use of each file by each other.
    pub(crate) uses: Vec<Use>,
    pub(crate) foreign_impls: Vec<ForeignImpl>,
}

impl Source {
    /// Reads `src/` of the package at `root`.
    pub(crate) fn of_package(root: &Path) -> Self {
        let source = root.join("src");
        let mut files = BTreeMap::new();
        let mut open = vec![source.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        Self::of_files(files)
    }

    /// Reads a tree that is given as text.
    pub(crate) fn of_text(files: &[(&str, &str)]) -> Self {
        Self::of_files(
            files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect(),
        )
    }

    fn of_files(files: BTreeMap<String, String>) -> Self {
        let mut modules = Modules { files: &files, all: Vec::new() };
        modules.load("lib.rs", None);
        let read: HashSet<_> = modules.all.iter().map(|module| module.file.as_str()).collect();
        let unread: Vec<_> =
            files.keys().filter(|name| !read.contains(name.as_str()) && !is_test(name)).collect();
        assert!(unread.is_empty(), "no `mod` line leads to {unread:?}");
        let (uses, foreign_impls) = modules.relations();
        Self { files, uses, foreign_impls }
    }
}

/// Files of tests are reached by `#[cfg(test)] mod tests;`, which is left out.
fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The room of a file: the first part of its path.
pub(crate) fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// A path as written, with the line it begins on.
#[derive(Clone)]
struct Written {
    segments: Vec<String>,
    line: usize,
}

struct Import {
    /// `None`: a glob.
    name: Option<String>,
    path: Written,
    /// A re-export by itself uses nothing.
    public: bool,
}

#[derive(Default)]
struct Module {
    file: String,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    items: HashSet<String>,
    imports: Vec<Import>,
    paths: Vec<Written>,
    /// The types of inherent `impl` blocks.
    impls: Vec<Written>,
}

struct Modules<'a> {
    files: &'a BTreeMap<String, String>,
    all: Vec<Module>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    Module(usize),
    /// Something that the module defines.
    Item(usize),
    /// Something of another crate.
    Elsewhere,
}

impl Modules<'_> {
    fn load(&mut self, file: &str, parent: Option<usize>) -> usize {
        let text = &self.files[file];
        let parsed = syn::parse_file(text).unwrap_or_else(|e| panic!("{file}: {e}"));
        let module = self.add(file, parent);
        let mut reader = Reader { modules: self, module, depth: 0 };
        for item in &parsed.items {
            reader.visit_item(item);
        }
        module
    }

    fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.all.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.all.len() - 1
    }

    /// The file of `mod name;` in a module.
    fn file_of_child(&self, module: usize, name: &str) -> String {
        let file = &self.all[module].file;
        let directory = match file.strip_suffix("mod.rs").or(file.strip_suffix("lib.rs")) {
            Some(directory) => directory.to_owned(),
            None => format!("{}/", file.trim_end_matches(".rs")),
        };
        [format!("{directory}{name}.rs"), format!("{directory}{name}/mod.rs")]
            .into_iter()
            .find(|file| self.files.contains_key(file))
            .unwrap_or_else(|| panic!("{file}: `mod {name};` has no file"))
    }

    fn root(&self) -> usize {
        0
    }

    /// Follows a path from the module in which it is written.
    fn resolve(&self, module: usize, segments: &[String]) -> Option<Found> {
        self.follow(module, segments, &mut HashSet::new())
    }

    fn follow(
        &self,
        module: usize,
        segments: &[String],
        visited: &mut HashSet<(usize, String)>,
    ) -> Option<Found> {
        let (first, rest) = segments.split_first()?;
        let mut found = match first.as_str() {
            "crate" => Found::Module(self.root()),
            "self" => Found::Module(module),
            "super" => Found::Module(self.all[module].parent?),
            name => self.name(module, name, visited)?,
        };
        for segment in rest {
            match found {
                Found::Module(inner) if segment == "super" => {
                    found = Found::Module(self.all[inner].parent?);
                }
                Found::Module(_) if segment == "self" => {}
                // What no line defines was made by a macro in that module.
                Found::Module(inner) => {
                    found = self.name(inner, segment, visited).unwrap_or(Found::Item(inner));
                }
                // A variant, an associated function.
                Found::Item(_) | Found::Elsewhere => break,
            }
        }
        Some(found)
    }

    /// A name in a module: defined, imported, or by a glob.
    fn name(
        &self,
        module: usize,
        name: &str,
        visited: &mut HashSet<(usize, String)>,
    ) -> Option<Found> {
        if !visited.insert((module, name.to_owned())) {
            return None;
        }
        let this = &self.all[module];
        if let Some(&child) = this.children.get(name) {
            return Some(Found::Module(child));
        }
        if this.items.contains(name) {
            return Some(Found::Item(module));
        }
        if let Some(import) = this.imports.iter().find(|i| i.name.as_deref() == Some(name)) {
            let found = self.follow(module, &import.path.segments, visited);
            return Some(found.unwrap_or(Found::Elsewhere));
        }
        for glob in this.imports.iter().filter(|import| import.name.is_none()) {
            if let Some(Found::Module(inner)) = self.follow(module, &glob.path.segments, visited)
                && let Some(found) = self.name(inner, name, visited)
            {
                return Some(found);
            }
        }
        None
    }

    fn relations(&self) -> (Vec<Use>, Vec<ForeignImpl>) {
        let mut uses: BTreeMap<(String, String), Use> = BTreeMap::new();
        let mut foreign = BTreeSet::new();
        for (number, module) in self.all.iter().enumerate() {
            let imports =
                module.imports.iter().filter(|import| !import.public && import.name.is_some());
            for written in imports.map(|import| &import.path).chain(&module.paths) {
                let Some(Found::Item(home)) = self.resolve(number, &written.segments) else {
                    continue;
                };
                let (from, to) = (module.file.clone(), self.all[home].file.clone());
                if from != to {
                    let path = written.segments.join("::");
                    let found =
                        Use { from: from.clone(), to: to.clone(), line: written.line, path };
                    let first = uses.entry((from, to)).or_insert_with(|| found.clone());
                    if found.line < first.line {
                        *first = found;
                    }
                }
            }
            for written in &module.impls {
                if let Some(Found::Item(home)) = self.resolve(number, &written.segments) {
                    let home = &self.all[home].file;
                    if *home != module.file {
                        foreign.insert(ForeignImpl {
                            file: module.file.clone(),
                            line: written.line,
                            name: written.segments.last().unwrap().clone(),
                            home: home.clone(),
                        });
                    }
                }
            }
        }
        (uses.into_values().collect(), foreign.into_iter().collect())
    }
}

/// Reads one file into the modules it consists of.
struct Reader<'a, 'b> {
    modules: &'a mut Modules<'b>,
    module: usize,
    /// Bodies around the place: what is defined inside one is no item of the module.
    depth: usize,
}

impl Reader<'_, '_> {
    fn this(&mut self) -> &mut Module {
        &mut self.modules.all[self.module]
    }

    fn define(&mut self, name: &syn::Ident) {
        if self.depth == 0 {
            let name = name.to_string();
            self.this().items.insert(name);
        }
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String], public: bool) {
        let line = tree.span().start().line;
        let with = |ident: &syn::Ident| {
            let mut segments = before.to_vec();
            // `{self}` names what stands before it.
            if ident != "self" || before.is_empty() {
                segments.push(ident.to_string());
            }
            segments
        };
        let (segments, name) = match tree {
            syn::UseTree::Path(path) => {
                let before = with(&path.ident);
                return self.import(&path.tree, &before, public);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, public);
                }
                return;
            }
            syn::UseTree::Name(name) => {
                let segments = with(&name.ident);
                let last = segments.last().cloned();
                (segments, last)
            }
            syn::UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            syn::UseTree::Glob(_) => (before.to_vec(), None),
        };
        let path = Written { segments, line };
        self.this().imports.push(Import { name, path, public });
    }

    /// The tokens of a macro: every run of names joined by `::`, except after a dot.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut line = 0;
        let (mut colons, mut after_dot) = (0, false);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if colons == 2 && !segments.is_empty() => {
                    segments.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !segments.is_empty() => {
                    colons += 1;
                    if colons <= 2 {
                        continue;
                    }
                }
                _ => {}
            }
            self.mention(std::mem::take(&mut segments), line);
            colons = 0;
            match token {
                TokenTree::Ident(ident) if !after_dot => {
                    line = ident.span().start().line;
                    segments.push(ident.to_string());
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(punct) => {
                    after_dot = punct.as_char() == '.';
                    continue;
                }
                _ => {}
            }
            after_dot = false;
        }
        self.mention(segments, line);
    }

    fn mention(&mut self, segments: Vec<String>, line: usize) {
        if !segments.is_empty() {
            self.this().paths.push(Written { segments, line });
        }
    }
}

fn segments_of(path: &syn::Path) -> Written {
    let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    Written { segments, line: path.span().start().line }
}

/// `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let text = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg")
            && (text == "test" || text.starts_with("all(") && text.contains("test"))
    })
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Reader<'_, '_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if for_tests(attributes_of(item)) {
            return;
        }
        match item {
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Fn(item) => self.define(&item.sig.ident),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Struct(item) => self.define(&item.ident),
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            syn::Item::Union(item) => self.define(&item.ident),
            syn::Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                }
            }
            syn::Item::Impl(item) if item.trait_.is_none() => {
                if let syn::Type::Path(own) = &*item.self_ty {
                    let written = segments_of(&own.path);
                    self.this().impls.push(written);
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let (name, outer) = (item.ident.to_string(), self.module);
        let child = if let Some((_, items)) = &item.content {
            let file = self.this().file.clone();
            let child = self.modules.add(&file, Some(outer));
            self.module = child;
            for item in items {
                self.visit_item(item);
            }
            self.module = outer;
            child
        } else {
            let file = self.modules.file_of_child(outer, &name);
            self.modules.load(&file, Some(outer))
        };
        self.this().children.insert(name, child);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &[], public);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.depth += 1;
        visit::visit_block(self, block);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written = segments_of(path);
        self.mention(written.segments, written.line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}
