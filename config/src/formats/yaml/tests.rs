//! Each kind of scalar and of collection, and what is refused with its place.

use super::*;

fn read(text: &str) -> String {
    parse(text).map_or_else(|(span, message)| format!("{span:?} {message}"), |tree| tree.shown())
}

#[test]
fn scalars() {
    for (text, expected) in [
        ("web", "\"web\""),
        ("'4'", "\"4\""),
        ("4", "4"),
        ("-1", "-1"),
        ("0o27", "23"),
        ("0x1f", "31"),
        ("0xg", "\"0xg\""),
        ("1.50", "float 1.50"),
        ("1e3", "float 1e3"),
        ("50%", "\"50%\""),
        ("10s", "\"10s\""),
        ("true", "true"),
        ("yes", "\"yes\""),
        ("~", "null"),
        ("1.2.3", "\"1.2.3\""),
        ("infinity", "\"infinity\""),
        ("'~'", "\"~\""),
        ("!!str 4", "\"4\""),
        ("!!int x", "6..7 the tag !!int does not fit this value: remove it"),
    ] {
        let found = read(text);
        assert!(
            found == expected || found.ends_with(expected.split_once(' ').map_or("?", |(_, m)| m)),
            "{text}: {found}"
        );
    }
}

#[test]
fn collections_aliases_and_merge_keys() {
    let text = "base: &base\n  env: { A: 1 }\n  cwd: /srv\napp:\n  web:\n    <<: *base\n    cwd: \
                /x\n  list: [1, *base]\n";
    assert_eq!(
        read(text),
        "{base: {env: {A: 1}, cwd: \"/srv\"}, app: {web: {cwd: \"/x\", env: {A: 1}}, list: [1, \
         {env: {A: 1}, cwd: \"/srv\"}]}}"
    );
}

#[test]
fn places_are_bytes() {
    let text = "é: ü\nname: [1]\n";
    let Value::Table(table) = parse(text).unwrap().value else { panic!() };
    let name = &table.entries[1];
    assert_eq!((&text[name.span.clone()], &text[table.entries[0].value.span()]), ("name", "ü"));
}

#[test]
fn refusals() {
    for (text, expected) in [
        ("a: 1\na: 2\n", "the key \"a\" is there twice"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("a: !env X\n", "the tag !env is not known"),
        ("[1]: 2\n", "a key must be a string"),
        ("? [a]\n: 2\n", "a key must be a string"),
        ("a: &a [*a]\n", "inside of what it names"),
        ("<<: 3\n", "\"<<\" takes a table"),
        ("", "the file is empty"),
        ("a: [1\n", " "),
        ("a: b: c\n", " "),
    ] {
        let found = parse(text).map(|tree| tree.shown());
        let (_, message) = found.unwrap_err();
        assert!(message.contains(expected), "{text:?}: {message}");
    }
    let deep = "[".repeat(100) + &"]".repeat(100);
    assert!(parse(&deep).unwrap_err().1.contains("nested"));
}

#[test]
fn aliases_cannot_grow_without_end() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{items}]\n");
    }
    assert!(parse(&text).unwrap_err().1.contains("more than 200000 values"));
}
