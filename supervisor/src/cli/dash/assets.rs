//! The files of the page. They are the same for everyone and hold no secret, so they need no token:
//! the page that asks for the token looks like the others.

use hyper::StatusCode;

use crate::cli::http::{Page, response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The file of this path.
pub(super) fn asset(path: &str) -> Option<Page> {
    let (kind, text) = match path {
        "/style.css" => (CSS, include_str!("page/style.css")),
        "/icon.svg" => (SVG, include_str!("page/icon.svg")),
        "/theme.js" => (JAVASCRIPT, include_str!("page/theme.js")),
        "/main.js" => (JAVASCRIPT, include_str!("page/main.js")),
        "/actions.js" => (JAVASCRIPT, include_str!("page/actions.js")),
        "/apps.js" => (JAVASCRIPT, include_str!("page/apps.js")),
        "/charts.js" => (JAVASCRIPT, include_str!("page/charts.js")),
        "/detail.js" => (JAVASCRIPT, include_str!("page/detail.js")),
        "/dom.js" => (JAVASCRIPT, include_str!("page/dom.js")),
        "/format.js" => (JAVASCRIPT, include_str!("page/format.js")),
        "/lines.js" => (JAVASCRIPT, include_str!("page/lines.js")),
        _ => return None,
    };
    Some(response(StatusCode::OK, kind, text))
}

/// The page itself.
pub(super) fn index() -> Page {
    response(StatusCode::OK, HTML, include_str!("page/index.html"))
}

/// The page that asks for the token. `wrong`: a token was given, and it is another one.
pub(super) fn entrance(wrong: bool) -> Page {
    let page = include_str!("page/entrance.html");
    let (status, message) = match wrong {
        true => (StatusCode::FORBIDDEN, "This is not the token of this dashboard."),
        false => (StatusCode::UNAUTHORIZED, "This dashboard opens with its token."),
    };
    response(status, HTML, page.replace("{{message}}", message))
}
