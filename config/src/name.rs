//! The names of apps and listeners: which ones are allowed, and the default made from a command.
//!
//! A name becomes a file name, an environment value and a word on the command line. A name that
//! would need quotes in one of them is refused.

use std::path::Path;

/// The longest name, in characters.
pub const MAX_LENGTH: usize = 64;

const ALLOWED: &str = "use letters, digits, \".\", \"_\" and \"-\"";

/// Extensions that are left out of a name that is made from a script.
const SCRIPTS: [&str; 13] =
    ["js", "mjs", "cjs", "ts", "py", "rb", "php", "sh", "pl", "jar", "java", "go", "class"];

/// Whether an app may be called `name`; the error says what is wrong and what is allowed.
pub fn check(name: &str) -> Result<(), String> {
    part(name)?;
    if name == "all" {
        return Err("the name \"all\" means every app: choose another".to_owned());
    }
    Ok(())
}

/// The same for a listener, which may be called `all`.
pub(crate) fn part(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the name is empty: {ALLOWED}"));
    }
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        let shown = wrong.to_string();
        return Err(format!("the name {name:?} contains {shown:?}: {ALLOWED}"));
    }
    if name.starts_with('.') {
        return Err(format!("the name {name:?} begins with a dot: begin with a letter or a digit"));
    }
    if name.starts_with('-') {
        return Err(format!(
            "the name {name:?} begins like a flag: begin with a letter or a digit"
        ));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!(
            "the name {name:?} has {} characters: at most {MAX_LENGTH} are allowed",
            name.len()
        ));
    }
    Ok(())
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The name of an app that was given none: its script, module or program.
pub fn from_command(command: &[String]) -> String {
    let Some((program, arguments)) = command.split_first() else {
        return "app".to_owned();
    };
    let program = stem(program);
    sanitised(&script(&program, arguments).unwrap_or(program))
}

/// The script or module that the interpreter `program` runs, if its arguments show it.
fn script(program: &str, arguments: &[String]) -> Option<String> {
    // Options whose value is the next argument, and those that put the program itself there.
    let (valued, inline): (&[&str], &[&str]) = match program.trim_end_matches(digit_or_dot) {
        "node" | "nodejs" => (
            &["-r", "--require", "--import", "--loader", "-C", "--conditions"],
            &["-e", "--eval", "-p", "--print"],
        ),
        "python" | "pypy" => (&["-W", "-X"], &["-c"]),
        "ruby" => (&["-I", "-r", "-C"], &["-e"]),
        "php" => (&["-S", "-t", "-d", "-c"], &["-r"]),
        "perl" => (&["-I"], &["-e", "-E"]),
        "sh" | "bash" | "dash" | "zsh" | "ksh" => (&["-o"], &["-c"]),
        "java" => (&["-cp", "-classpath", "--class-path", "-p", "--module-path"], &[]),
        "go" => return go(arguments),
        _ => return None,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-m" if program.starts_with("py") => return rest.next().cloned(),
            "-jar" => return rest.next().map(|jar| stem(jar)),
            "--" => return rest.next().map(|file| stem(file)),
            option if inline.contains(&option) => return None,
            option if valued.contains(&option) => drop(rest.next()),
            option if option.starts_with('-') => {}
            file => return Some(stem(file)),
        }
    }
    None
}

fn go(arguments: &[String]) -> Option<String> {
    let (verb, rest) = arguments.split_first()?;
    let package = rest.iter().find(|argument| !argument.starts_with('-'))?;
    (verb == "run" && package != ".").then(|| stem(package))
}

fn digit_or_dot(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// The last part of a path, without the extension if it is a script's.
pub(crate) fn stem(path: &str) -> String {
    let path = Path::new(path);
    let known = path.extension().is_some_and(|e| SCRIPTS.iter().any(|known| e == *known));
    let part = if known { path.file_stem() } else { path.file_name() };
    part.unwrap_or_default().to_string_lossy().into_owned()
}

/// The nearest allowed name.
pub(crate) fn sanitised(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = if allowed(c) { c } else { '-' };
        let doubled = c == '-' && name.ends_with('-');
        let leading = name.is_empty() && matches!(c, '.' | '-');
        if !doubled && !leading && name.len() < MAX_LENGTH {
            name.push(c);
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    match name.as_str() {
        "" => "app".to_owned(),
        "all" => "all-app".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(command: &str) -> String {
        from_command(&command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert_eq!(
            check("a/b").unwrap_err(),
            r#"the name "a/b" contains "/": use letters, digits, ".", "_" and "-""#
        );
        assert_eq!(
            check("").unwrap_err(),
            r#"the name is empty: use letters, digits, ".", "_" and "-""#
        );
        assert_eq!(
            check(".x").unwrap_err(),
            r#"the name ".x" begins with a dot: begin with a letter or a digit"#
        );
        let flag = check("-x").unwrap_err();
        assert!(flag.contains("begins like a flag"), "{flag}");
        assert_eq!(check("all").unwrap_err(), r#"the name "all" means every app: choose another"#);
        assert!(check(&"x".repeat(65)).unwrap_err().contains("has 65 characters"));
        assert!(check(&"x".repeat(64)).is_ok());
        assert!(check("web-1.2_b").is_ok());
    }

    #[test]
    fn a_terminal_escape_is_shown_escaped() {
        assert!(check("a\u{1b}[2J").unwrap_err().contains(r#"contains "\u{1b}""#));
    }

    #[test]
    fn default_names() {
        for (command, expected) in [
            ("node server.js", "server"),
            ("node -r ./trace.js --inspect dist/server.mjs --port 1", "server"),
            ("node -e 1", "node"),
            ("python3 -m http.server 8000", "http.server"),
            ("python3.11 -u app.py", "app"),
            ("python -c pass", "python"),
            ("sh -c ./x", "sh"),
            ("bash ./run.sh", "run"),
            ("ruby -I lib app.rb", "app"),
            ("php -S 127.0.0.1:8000 router.php", "router"),
            ("php -S 127.0.0.1:8000", "php"),
            ("java -Xmx64m -jar build/shop.jar", "shop"),
            ("java -cp classes com.example.Main", "com.example.Main"),
            ("java Server.java", "Server"),
            ("go run ./cmd/api", "api"),
            ("go run main.go", "main"),
            ("go run .", "go"),
            ("npm start", "npm"),
            ("/usr/bin/foo", "foo"),
            ("./foo-1.2", "foo-1.2"),
            ("./my server", "my"),
            ("./täst", "t-st"),
            ("./all", "all-app"),
            ("..", "app"),
            ("/", "app"),
            ("", "app"),
        ] {
            assert_eq!(named(command), expected, "{command}");
            assert_eq!(check(&named(command)), Ok(()), "{command}");
        }
        assert_eq!(from_command(&[]), "app");
    }
}
