//! The shape of the source: functions fit on a page, and files of one module do not lead to each
//! other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

use super::{is_tests, root, sources};

/// Longest function in lines, from its `fn` to its last brace, with comments.
const LONGEST_FUNCTION: usize = 60;

/// The names of a file's module below the crate: `["control", "resolve"]`.
type ModulePath = Vec<String>;

/// What a file of the library holds, tests apart.
#[derive(Default)]
struct FileShape {
    /// The paths that `use` declarations and expressions name.
    paths: Vec<Vec<String>>,
    /// The functions that are too long, with their number of lines.
    long_functions: Vec<(String, usize)>,
}

impl FileShape {
    fn of(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a file");
        let mut shape = Self::default();
        shape.visit_file(&syn::parse_file(&text).expect("Rust"));
        shape
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

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.check_length(&function.sig, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.check_length(&function.sig, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }
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
