//! The shape of the source: functions fit on a page, their parameters have names, and files of one
//! module do not lead to each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, GenericArgument, Item, Pat, PatType, PathArguments, Type, UseTree};

use super::{is_tests, root, sources};

/// Longest function in lines, from its `fn` to its last brace, with comments.
const LONGEST_FUNCTION: usize = 60;

/// The functions that may have a tuple as a parameter, each with its reason.
const TUPLE_PARAMETERS: [(&str, &str); 3] = [
    (
        "channel::rabbitmq::address::new",
        "the user name and the password that replace those of the URIs",
    ),
    ("channel::rabbitmq::address::parse_uri", "the same"),
    ("channel::rabbitmq::address::parse_uris", "the same"),
];

/// The names of a file's module below the crate: `["control", "resolve"]`.
type ModulePath = Vec<String>;

/// What a file of the library holds, tests apart.
#[derive(Default)]
struct FileShape {
    /// The paths that `use` declarations and expressions name.
    paths: Vec<Vec<String>>,
    /// The functions that are too long, with their number of lines.
    long_functions: Vec<(String, usize)>,
    /// The parameters of functions, each with the function's name.
    parameters: Vec<(String, PatType)>,
    /// The names of types that stand for a tuple.
    tuple_types: Vec<String>,
}

impl FileShape {
    fn of(path: &Path) -> Self {
        Self::of_text(&std::fs::read_to_string(path).expect("a file"))
    }

    fn of_text(text: &str) -> Self {
        let mut shape = Self::default();
        shape.visit_file(&syn::parse_file(text).expect("Rust"));
        shape
    }

    /// The functions that have a tuple as a parameter, by itself, behind a reference or in an
    /// `Option`. `tuple_types` are the names of types that stand for one.
    fn with_tuple_parameters(&self, tuple_types: &BTreeSet<String>) -> BTreeSet<&str> {
        let parameters = self.parameters.iter();
        parameters
            .filter(|(_, parameter)| {
                is_tuple_pattern(&parameter.pat) || is_tuple_type(&parameter.ty, tuple_types)
            })
            .map(|(function, _)| function.as_str())
            .collect()
    }

    fn check_length(&mut self, signature: &syn::Signature, end: proc_macro2::Span) {
        let lines = end.end().line - signature.fn_token.span().start().line + 1;
        if lines > LONGEST_FUNCTION {
            self.long_functions
                .push((signature.ident.to_string(), lines));
        }
    }

    fn add_uses(&mut self, mut before: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_uses(before, &path.tree);
            }
            UseTree::Group(group) => {
                let each = group.items.iter();
                each.for_each(|tree| self.add_uses(before.clone(), tree));
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.paths.push(before);
            }
            UseTree::Rename(renamed) => {
                before.push(renamed.ident.to_string());
                self.paths.push(before);
            }
            UseTree::Glob(_) => self.paths.push(before),
        }
    }
}

impl<'a> Visit<'a> for FileShape {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.add_uses(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter();
        self.paths
            .push(names.map(|name| name.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        for input in &signature.inputs {
            if let FnArg::Typed(parameter) = input {
                self.parameters
                    .push((signature.ident.to_string(), parameter.clone()));
            }
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        if is_tuple_type(&item.ty, &BTreeSet::new()) {
            self.tuple_types.push(item.ident.to_string());
        }
        visit::visit_item_type(self, item);
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.check_length(&function.sig, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.check_length(&function.sig, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }
}

/// True for a pattern that takes a tuple of two or more apart.
fn is_tuple_pattern(pattern: &Pat) -> bool {
    match pattern {
        Pat::Tuple(tuple) => tuple.elems.len() > 1,
        Pat::Reference(reference) => is_tuple_pattern(&reference.pat),
        Pat::Paren(inside) => is_tuple_pattern(&inside.pat),
        _ => false,
    }
}

/// True for a tuple of two or more, a reference to one, and an `Option` of one.
fn is_tuple_type(of: &Type, tuple_types: &BTreeSet<String>) -> bool {
    match of {
        Type::Tuple(tuple) => tuple.elems.len() > 1,
        Type::Reference(reference) => is_tuple_type(&reference.elem, tuple_types),
        Type::Paren(inside) => is_tuple_type(&inside.elem, tuple_types),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            tuple_types.contains(&last.ident.to_string())
                || last.ident == "Option" && is_option_of_tuple(&last.arguments, tuple_types)
        }),
        _ => false,
    }
}

fn is_option_of_tuple(arguments: &PathArguments, tuple_types: &BTreeSet<String>) -> bool {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return false;
    };
    arguments.args.iter().any(|argument| {
        matches!(argument, GenericArgument::Type(inside) if is_tuple_type(inside, tuple_types))
    })
}

/// True for what stands below `#[cfg(test)]`.
fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn library_files() -> Vec<PathBuf> {
    let files = sources(&root().join("src")).into_iter();
    let is_suite = |path: &PathBuf| path.iter().any(|part| part == "conformance");
    files
        .filter(|path| !is_tests(path) && !is_suite(path) && !path.ends_with("conformance.rs"))
        .collect()
}

fn module_path(path: &Path) -> ModulePath {
    let below = path.strip_prefix(root().join("src")).expect("below src");
    let names = below.with_extension("");
    names
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The module that a path leads to from `from`: the deepest one that is a file.
fn target(
    from: &ModulePath,
    path: &[String],
    modules: &BTreeSet<ModulePath>,
) -> Option<ModulePath> {
    let (first, rest) = path.split_first()?;
    let supers = path.iter().take_while(|name| *name == "super").count();
    let (mut found, rest) = match first.as_str() {
        "crate" => (Vec::new(), rest),
        "self" => (from.clone(), rest),
        "super" => (
            from.get(..from.len().checked_sub(supers)?)?.to_vec(),
            path.get(supers..)?,
        ),
        _ => {
            let child = [from.as_slice(), std::slice::from_ref(first)].concat();
            (modules.get(&child)?.clone(), rest)
        }
    };
    for name in rest {
        let deeper = [found.as_slice(), std::slice::from_ref(name)].concat();
        if !modules.contains(&deeper) {
            break;
        }
        found = deeper;
    }
    modules.contains(&found).then_some(found)
}

/// True if one of two modules is inside of the other: a module may lead to its parts, and they to
/// what it defines.
fn is_inside(one: &ModulePath, other: &ModulePath) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Everything that can be reached from a module, over any number of arrows.
fn reachable<'a>(
    from: &ModulePath,
    arrows: &'a BTreeMap<ModulePath, BTreeSet<ModulePath>>,
) -> BTreeSet<&'a ModulePath> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&ModulePath> = arrows.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if found.insert(module) {
            next.extend(arrows.get(module).into_iter().flatten());
        }
    }
    found
}

/// The arrows that are part of a circle.
fn circles(arrows: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
    let mut found = Vec::new();
    for (from, to) in arrows {
        let back = to.iter().filter(|to| reachable(to, arrows).contains(from));
        found.extend(back.map(|to| format!("{} -> {}", from.join("::"), to.join("::"))));
    }
    found
}

#[test]
fn circles_are_seen() {
    let path = |text: &str| vec![text.to_owned()];
    let arrows = |rows: &[(&str, &str)]| {
        let mut arrows: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (from, to) in rows {
            arrows.entry(path(from)).or_default().insert(path(to));
        }
        arrows
    };
    assert!(circles(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = circles(&arrows(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
    assert_eq!(found, ["b -> c", "c -> b"]);
}

#[test]
fn files_do_not_lead_to_each_other_in_a_circle() {
    let files = library_files();
    let modules: BTreeSet<ModulePath> = files.iter().map(|path| module_path(path)).collect();
    let mut arrows: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
    for path in &files {
        let from = module_path(path);
        let shape = FileShape::of(path);
        let to = shape
            .paths
            .iter()
            .filter_map(|path| target(&from, path, &modules));
        let to: BTreeSet<ModulePath> = to.filter(|to| !is_inside(&from, to)).collect();
        arrows.insert(from, to);
    }
    let number: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(number > 1000, "{number} arrows were found");
    let circles = circles(&arrows);
    assert!(
        circles.is_empty(),
        "move what both need into a file of its own: {circles:#?}"
    );
}

#[test]
fn functions_fit_on_a_page() {
    let mut long = Vec::new();
    for path in library_files() {
        let found = FileShape::of(&path).long_functions;
        let shown =
            |(name, lines): (String, usize)| format!("{} {name}: {lines} lines", path.display());
        long.extend(found.into_iter().map(shown));
    }
    assert!(
        long.is_empty(),
        "{LONGEST_FUNCTION} lines are allowed: {long:#?}"
    );
}

#[test]
fn tuples_as_parameters_are_seen() {
    let text = "
        type Pair = (u8, u8);
        fn by_itself(pair: (u8, u8)) {}
        fn taken_apart((a, b): Both) {}
        fn behind_a_reference(pair: &(u8, u8)) {}
        fn in_an_option(pair: Option<&(u8, u8)>) {}
        fn by_its_name(pair: &Pair) {}
        trait Whole { fn of_a_trait(&self, pair: (u8, u8)); }
        fn names(a: u8, b: Option<u8>, c: &Both, Both { d, e }: Both) {}
        fn pairs(all: &[(u8, u8)], of: Vec<Pair>, done: Result<(), u8>, nothing: ()) {}
        fn given() -> (u8, u8) { let (a, b) = (1, 2); (a, b) }
        #[cfg(test)]
        mod tests { fn of_tests(pair: (u8, u8)) {} }
    ";
    let shape = FileShape::of_text(text);
    let tuple_types: BTreeSet<String> = shape.tuple_types.iter().cloned().collect();
    let found = shape.with_tuple_parameters(&tuple_types);
    let expected = [
        "behind_a_reference",
        "by_its_name",
        "by_itself",
        "in_an_option",
        "of_a_trait",
        "taken_apart",
    ];
    assert_eq!(Vec::from_iter(found), expected);
}

/// A reader of a call sees from names what a parameter is, and not from its place in a tuple.
#[test]
fn functions_have_no_tuples_as_parameters() {
    let files = library_files();
    let shapes: Vec<FileShape> = files.iter().map(|path| FileShape::of(path)).collect();
    let tuple_types: BTreeSet<String> = shapes
        .iter()
        .flat_map(|shape| shape.tuple_types.iter().cloned())
        .collect();
    let found = files.iter().zip(&shapes).flat_map(|(path, shape)| {
        let module = module_path(path).join("::");
        let functions = shape.with_tuple_parameters(&tuple_types).into_iter();
        functions.map(move |function| format!("{module}::{function}"))
    });
    let found: Vec<String> = found
        .filter(|function| !TUPLE_PARAMETERS.iter().any(|(known, _)| known == function))
        .collect();
    assert!(
        found.is_empty(),
        "give each part a parameter, or all of them a struct: {found:#?}"
    );
}
