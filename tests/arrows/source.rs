//! Reads a crate's modules from its root file: what each file defines, re-exports, and names of other files.
//!
//! It knows names, not types: a call of a method is not seen, the `use` or path that brought its type along
//! is. Code under `#[cfg(test)]` is passed over, for tests may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Re-exports followed at most, so that `use a::a` ends.
const FOLLOWED: usize = 8;

/// One module, inline ones included.
#[derive(Default)]
struct Module {
    file: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    defined: BTreeSet<String>,
    imported: BTreeMap<String, Vec<String>>,
    /// The paths before `::*`.
    globs: Vec<Vec<String>>,
    /// Paths in code.
    paths: BTreeSet<Vec<String>>,
}

/// What a path leads to.
enum Found {
    Module(usize),
    /// Something in a module's file.
    Item(usize),
}

/// The modules of one crate.
pub(crate) struct Crate {
    files: Vec<PathBuf>,
    modules: Vec<Module>,
}

/// A file names something in another: from, to, and by which path.
pub(crate) type Arrow = (PathBuf, PathBuf, String);

type Tokens = Peekable<IntoIter<TokenTree>>;

impl Crate {
    /// Reads the crate whose root is this file.
    pub(crate) fn read(root: &Path) -> Crate {
        let mut krate = Crate { files: Vec::new(), modules: Vec::new() };
        let folder = root.parent().unwrap().to_owned();
        krate.read_file(root.to_owned(), &folder, None);
        krate
    }

    /// Every arrow between two files.
    pub(crate) fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (from, module) in self.modules.iter().enumerate() {
            let imports = module.imported.values().chain(&module.paths);
            let items = imports.filter_map(|path| match self.resolve(from, path, true, 0) {
                Some(Found::Item(to)) => Some((to, path)),
                // The names behind it count, not the module.
                Some(Found::Module(_)) | None => None,
            });
            let globs = module.globs.iter().filter_map(|path| match self.resolve(from, path, false, 0) {
                Some(Found::Module(to) | Found::Item(to)) => Some((to, path)),
                None => None,
            });
            for (to, path) in items.chain(globs) {
                let file = |module: usize| self.files[self.modules[module].file].clone();
                if file(from) != file(to) {
                    arrows.insert((file(from), file(to), path.join("::")));
                }
            }
        }
        arrows
    }

    /// Where a path that stands in a module leads to; nothing for other crates. With `is_item` its end may be
    /// a function of the same name as a module.
    fn resolve(&self, from: usize, path: &[String], is_item: bool, followed: usize) -> Option<Found> {
        let root = 0;
        let (first, rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => root,
            "self" => from,
            "super" => self.modules[from].parent?,
            name => match self.look_up(from, name, is_item && rest.is_empty(), followed)? {
                Found::Module(module) => module,
                item @ Found::Item(_) => return Some(item),
            },
        };
        for (behind, name) in rest.iter().enumerate() {
            let is_item = is_item && behind + 1 == rest.len();
            at = match name.as_str() {
                "self" => at,
                "super" => self.modules[at].parent?,
                name => match self.look_up(at, name, is_item, followed) {
                    Some(Found::Module(module)) => module,
                    Some(item) => return Some(item),
                    // A macro made it.
                    None => return Some(Found::Item(at)),
                },
            };
        }
        Some(Found::Module(at))
    }

    /// What a name means in a module; with `is_item` a function comes before a module.
    fn look_up(&self, module: usize, name: &str, is_item: bool, followed: usize) -> Option<Found> {
        if followed > FOLLOWED {
            return None;
        }
        let here = &self.modules[module];
        let child = here.children.get(name).map(|child| Found::Module(*child));
        if child.is_some() && !is_item {
            return child;
        }
        if here.defined.contains(name) {
            return Some(Found::Item(module));
        }
        let imported =
            here.imported.get(name).and_then(|path| self.resolve(module, path, is_item, followed + 1));
        let through_globs = || {
            here.globs.iter().find_map(|path| match self.resolve(module, path, false, followed + 1) {
                Some(Found::Module(source)) => self.look_up(source, name, is_item, followed + 1),
                Some(Found::Item(_)) | None => None,
            })
        };
        match imported.or_else(through_globs) {
            Some(Found::Module(_)) | None if child.is_some() => child,
            found => found,
        }
    }

    /// Adds a file as a module; the modules that it declares lie in `folder`.
    fn read_file(&mut self, file: PathBuf, folder: &Path, parent: Option<usize>) -> usize {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.files.push(file);
        let module = self.modules.len();
        self.modules.push(Module { file: self.files.len() - 1, parent, ..Module::default() });
        self.scan(tokens, module, folder, true);
        module
    }

    /// Reads tokens; `is_top` where an item is the module's own.
    fn scan(&mut self, tokens: TokenStream, module: usize, folder: &Path, is_top: bool) {
        let mut tokens = tokens.into_iter().collect::<Vec<_>>().into_iter().peekable();
        let mut path_attribute = None;
        let mut is_after_colons = false;
        while let Some(token) = tokens.next() {
            let was_after_colons = std::mem::take(&mut is_after_colons);
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    tokens.next_if(|token| is_punct(token, '!'));
                    let Some(attribute) = tokens.next() else { return };
                    if is_test(&attribute) {
                        skip_item(&mut tokens);
                    } else {
                        path_attribute = path_of(&attribute).or(path_attribute);
                    }
                }
                TokenTree::Punct(_) if is_punct(&token, ':') => {
                    is_after_colons = tokens.next_if(|token| is_punct(token, ':')).is_some();
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                TokenTree::Group(group) => self.scan(group.stream(), module, folder, false),
                TokenTree::Ident(ident) => match ident.to_string().as_str() {
                    "mod" => self.read_module(&mut tokens, module, folder, path_attribute.take()),
                    // `use<'a>` is a bound.
                    "use" if tokens.peek().is_some_and(|token| !is_punct(token, '<')) => {
                        let tree = tokens.by_ref().take_while(|token| !is_punct(token, ';'));
                        self.read_use(tree.collect(), module, &[]);
                    }
                    "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static" if is_top => {
                        if let Some(TokenTree::Ident(name)) = tokens.peek()
                            && !["fn", "unsafe", "async", "extern", "mut"]
                                .contains(&name.to_string().as_str())
                        {
                            self.modules[module].defined.insert(name.to_string());
                        }
                    }
                    "macro_rules" => {
                        if let Some(TokenTree::Ident(name)) = tokens.nth(1) {
                            self.modules[module].defined.insert(name.to_string());
                        }
                    }
                    first => {
                        let path = read_path(first, &mut tokens);
                        if path.len() > 1 && !was_after_colons {
                            self.modules[module].paths.insert(path);
                        }
                    }
                },
            }
        }
    }

    /// What follows `mod`: a name, and a semicolon or the module.
    fn read_module(&mut self, tokens: &mut Tokens, parent: usize, folder: &Path, path: Option<String>) {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return };
        let name = name.to_string();
        let child = match tokens.next() {
            Some(TokenTree::Group(group)) => {
                let child = self.modules.len();
                let file = self.modules[parent].file;
                self.modules.push(Module { file, parent: Some(parent), ..Module::default() });
                self.scan(group.stream(), child, &folder.join(&name), true);
                child
            }
            _ => {
                let inside = folder.join(&name);
                let flat = inside.with_extension("rs");
                if let Some(path) = path {
                    // Relative to the file, and so are the modules in it.
                    let file = self.files[self.modules[parent].file].with_file_name(path);
                    let folder = file.parent().unwrap().to_owned();
                    self.read_file(file, &folder, Some(parent))
                } else if flat.is_file() {
                    self.read_file(flat, &inside, Some(parent))
                } else {
                    self.read_file(inside.join("mod.rs"), &inside, Some(parent))
                }
            }
        };
        self.modules[parent].children.insert(name, child);
    }

    /// A tree of imports behind the path `before`.
    fn read_use(&mut self, tree: Vec<TokenTree>, module: usize, before: &[String]) {
        if tree.is_empty() {
            return; // behind the last comma
        }
        let mut path = before.to_vec();
        let mut tree = tree.into_iter();
        while let Some(token) = tree.next() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    if let Some(TokenTree::Ident(name)) = tree.next() {
                        self.modules[module].imported.insert(name.to_string(), path);
                    }
                    return;
                }
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    self.modules[module].globs.push(path);
                    return;
                }
                TokenTree::Group(group) => {
                    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                    for branch in tokens.split(|token| is_punct(token, ',')) {
                        self.read_use(branch.to_vec(), module, &path);
                    }
                    return;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        // `use a::{self}` is `use a`.
        if path.len() > 1 {
            path.pop_if(|last| last == "self");
        }
        if let Some(name) = path.last().cloned() {
            self.modules[module].imported.insert(name, path);
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// `first` and what follows it by `::`.
fn read_path(first: &str, tokens: &mut Tokens) -> Vec<String> {
    let mut path = vec![first.to_owned()];
    loop {
        let mut ahead = tokens.clone();
        let colons = [ahead.next(), ahead.next()];
        let is_colons = colons.iter().flatten().filter(|token| is_punct(token, ':')).count() == 2;
        let Some(TokenTree::Ident(next)) = ahead.next().filter(|_| is_colons) else { return path };
        path.push(next.to_string());
        *tokens = ahead;
    }
}

/// Whether an attribute's brackets hold `cfg(test)`, or a `cfg` of which it is a part.
fn is_test(attribute: &TokenTree) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text.starts_with("[cfg(")
        && !text.contains("not(test)")
        && text.split(['(', ')', ',']).any(|w| w == "test")
}

/// The value of `[path = "..."]`.
fn path_of(attribute: &TokenTree) -> Option<String> {
    let text = attribute.to_string();
    text.starts_with("[path").then(|| text.split('"').nth(1).unwrap_or_default().to_owned())
}

/// Passes over an item, a field, a variant or a statement, and the attributes before it.
fn skip_item(tokens: &mut Tokens) {
    while tokens.next_if(|token| is_punct(token, '#')).is_some() {
        tokens.next();
    }
    let mut is_item = false;
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                is_item |=
                    ["fn", "struct", "enum", "impl", "trait", "mod", "use", "const"].contains(&word.as_str());
            }
            TokenTree::Punct(_) if is_punct(&token, ';') || !is_item && is_punct(&token, ',') => return,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(_) | TokenTree::Literal(_) | TokenTree::Group(_) => {}
        }
    }
}
