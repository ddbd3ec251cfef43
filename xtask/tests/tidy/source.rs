//! A Rust file as the rules see it: its functions, its attributes, its macros, and every path that it
//! names with the imports resolved, so that `use std::{fs}; fs::write(..)` is found as `std::fs::write`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// A function with its length from its signature to its closing brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// An attribute: its name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A file of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path below the workspace, `/` separated.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) functions: Vec<Function>,
    pub(crate) attributes: Vec<Attribute>,
    /// Names of macros that are called.
    pub(crate) macros: Vec<(String, usize)>,
    /// Paths with imports resolved, outside of `#[cfg(test)]`.
    pub(crate) paths: Vec<(String, usize)>,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
        let mut shape = Shape::default();
        shape.visit_file(&file);
        let tokens: TokenStream = text.trim_start_matches("#!").parse().expect("syn has parsed it");
        let mut named = Vec::new();
        scan(tokens, &mut named);
        let paths: BTreeSet<(String, usize)> = named
            .into_iter()
            .map(|(path, line)| (resolve(&path, &shape.imports), line))
            .chain(shape.used.iter().cloned())
            .filter(|(_, line)| !shape.tests.iter().any(|(from, to)| (from..=to).contains(&line)))
            .collect();
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            functions: shape.functions,
            attributes: shape.attributes,
            macros: shape.macros,
            paths: paths.into_iter().collect(),
        }
    }

    /// Every Rust file of the workspace, read once for all rules.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Source>> = OnceLock::new();
        ALL.get_or_init(|| {
            let root = crate::root();
            crate::text::files(&root)
                .into_iter()
                .filter(|path| path.ends_with(".rs"))
                .map(|path| {
                    let text = std::fs::read_to_string(root.join(&path)).expect("a source is text");
                    Self::parse(&path, &text)
                })
                .collect()
        })
    }
}

fn resolve(path: &str, imports: &BTreeMap<String, String>) -> String {
    let (first, rest) = path.split_once("::").map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (imports.get(first), rest) {
        (Some(full), Some(rest)) => format!("{full}::{rest}"),
        (Some(full), None) => full.clone(),
        (None, _) => path.to_owned(),
    }
}

/// Every `a::b::c` of a token stream, those inside macros too.
fn scan(tokens: TokenStream, found: &mut Vec<(String, usize)>) {
    let mut open: Option<(String, usize)> = None;
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                open = match open.take() {
                    Some((path, line)) if colons == 2 => Some((format!("{path}::{ident}"), line)),
                    other => {
                        found.extend(other);
                        Some((ident.to_string(), ident.span().start().line))
                    }
                };
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                found.extend(open.take());
                colons = 0;
                if group.delimiter() != Delimiter::None {
                    scan(group.stream(), found);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                found.extend(open.take());
                colons = 0;
            }
        }
    }
    found.extend(open);
}

#[derive(Default)]
struct Shape {
    functions: Vec<Function>,
    attributes: Vec<Attribute>,
    macros: Vec<(String, usize)>,
    imports: BTreeMap<String, String>,
    used: Vec<(String, usize)>,
    tests: Vec<(usize, usize)>,
}

impl Shape {
    fn function(&mut self, signature: &syn::Signature, whole: proc_macro2::Span) {
        let line = signature.span().start().line;
        let lines = whole.end().line + 1 - line;
        self.functions.push(Function { name: signature.ident.to_string(), line, lines });
    }

    fn import(&mut self, prefix: &str, tree: &syn::UseTree) {
        let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
        match tree {
            syn::UseTree::Path(path) => self.import(&join(&path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let last = prefix.rsplit("::").next().unwrap_or(prefix);
                self.known(last.to_owned(), prefix.to_owned(), name.span());
            }
            syn::UseTree::Name(name) => {
                self.known(name.ident.to_string(), join(&name.ident.to_string()), name.span())
            }
            syn::UseTree::Rename(rename) => {
                let full =
                    if rename.ident == "self" { prefix.to_owned() } else { join(&rename.ident.to_string()) };
                self.known(rename.rename.to_string(), full, rename.span());
            }
            syn::UseTree::Glob(glob) => self.used.push((join("*"), glob.span().start().line)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree)),
        }
    }

    fn known(&mut self, name: String, full: String, span: proc_macro2::Span) {
        self.used.push((full.clone(), span.start().line));
        self.imports.insert(name, full);
    }

    fn test_only(&mut self, attributes: &[syn::Attribute], whole: proc_macro2::Span) {
        let is_test = |attribute: &syn::Attribute| match &attribute.meta {
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string().contains("test"),
            _ => false,
        };
        if attributes.iter().any(is_test) {
            self.tests.push((whole.start().line, whole.end().line));
        }
    }
}

impl<'ast> Visit<'ast> for Shape {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.test_only(&item.attrs, item.span());
        self.function(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.span());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.test_only(&item.attrs, item.span());
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import("", &item.tree);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(segment) = call.path.segments.last() {
            self.macros.push((segment.ident.to_string(), call.span().start().line));
        }
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name =
            attribute.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let text = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            syn::Meta::Path(_) | syn::Meta::NameValue(_) => String::new(),
        };
        self.attributes.push(Attribute { name, text, line: attribute.span().start().line });
    }
}

#[test]
fn imports_are_resolved_and_tests_left_out() {
    let text = "use std::{fs as disk, io::{self, Read}};\n\
                fn a() { disk::write(1); let _ = format!(\"{}\", std::env::var(\"x\")); io::stdin(); }\n\
                #[cfg(test)]\nmod tests {\n fn b() { std::process::exit(1) }\n}\n";
    let source = Source::parse("x.rs", text);
    let has = |path: &str| source.paths.iter().any(|(found, _)| found == path);
    assert!(has("std::fs::write") && has("std::env::var") && has("std::io::stdin"), "{:?}", source.paths);
    assert!(!source.paths.iter().any(|(path, _)| path.contains("exit")), "{:?}", source.paths);
}

#[test]
fn a_functions_length_is_from_signature_to_brace() {
    let source = Source::parse("x.rs", "/// Doc.\n#[inline]\nfn a(\n    x: u8,\n) {\n    b(x);\n}\n");
    assert_eq!(source.functions, [Function { name: "a".to_owned(), line: 3, lines: 5 }]);
}
