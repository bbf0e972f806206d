//! The page, in a real browser. Without one these tests say so and pass; with
//! `MAILRING_NEEDS_BROWSER` set they fail. `MAILRING_PICTURES` names a folder for what they see.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::{Folder, logs};

fn open(text: &str, words: &[&str]) -> Option<(Folder, Browser)> {
    let folder = Folder::new();
    folder.write("run.log", text);
    folder.well(&[&["run.log", "-o", "page.html"], words].concat());
    let browser = Browser::open(&folder.path().join("page.html"), 1440, 900)?;
    Some((folder, browser))
}

fn place(browser: &mut Browser, call: &str) -> (f64, f64) {
    let place = browser.eval(&format!("window.mailringTrace.place({call:?})"));
    let at = |key: &str| place[key].as_f64().unwrap_or_else(|| panic!("{call} is not shown"));
    (at("x"), at("y"))
}

fn text_of(browser: &mut Browser, id: &str) -> String {
    browser.text(&format!("document.getElementById({id:?}).innerText"))
}

fn number(state: &Value, key: &str) -> f64 {
    state[key].as_f64().unwrap_or_else(|| panic!("{key} of {state}"))
}

#[test]
fn twenty_calls() {
    let Some((_folder, mut browser)) = open(&logs::sweep().text(), &[]) else { return };
    let browser = &mut browser;
    browser.picture("sweep-light", false);
    browser.picture("sweep-light-whole", true);
    assert_eq!(text_of(browser, "title"), "rtl_sweep");
    let totals = text_of(browser, "totals").replace('\n', " ");
    for part in
        ["21 calls", "17 done", "1 failed", "1 retry", "1 from the cache", "1 death of a worker"]
    {
        assert!(totals.contains(part), "{part}: {totals}");
    }
    let panels = text_of(browser, "panels");
    for part in [
        "Where time went",
        "waiting for verilator",
        "Critical path",
        "Functions",
        "What went wrong",
        "driven twice",
        "killed by signal 9",
        "simulation_cycles",
        "cache_full",
    ] {
        assert!(panels.contains(part), "{part}: {panels}");
    }

    let hit = browser.eval(
        "(() => { const d = window.mailringTrace.view.run.deaths[0].hit; return [d[0], d[1]]; })()",
    );
    assert_eq!(hit[1], 0, "the death ended a first attempt: {hit}");

    // The mouse: what is under it, and what is clicked.
    let (call, other) = (logs::id(10), logs::id(9));
    let (x, y) = place(browser, &call);
    browser.hover(x, y);
    browser.until("!document.getElementById('tip').hidden");
    let tip = text_of(browser, "tip");
    assert!(tip.contains("simulate stream depth=8") && tip.contains("370 ms"), "{tip}");
    browser.click(x, y);
    assert_eq!(browser.state()["selected"], json!(call));
    let details = text_of(browser, "details");
    for part in [
        "rtl_sweep::simulate",
        "cpus 1",
        "bypassed by",
        "Takes values of",
        "build depth=8",
        "collect",
    ] {
        assert!(details.contains(part), "{part}: {details}");
    }
    browser.picture("sweep-details", false);
    browser.eval("[...document.querySelectorAll('#details button.link')].find((b) => b.textContent === 'build depth=8').focus()");
    browser.key("Enter");
    assert_eq!(browser.state()["selected"], json!(other), "a link by keyboard");

    // Search, by keyboard alone.
    browser.key("/");
    browser.write("DRIVEN TWICE");
    assert_eq!(browser.state()["found"], 1);
    assert_eq!(text_of(browser, "found"), "1 call");
    browser.key("Enter");
    assert_eq!(browser.state()["selected"], json!(logs::id(13)));
    let error = browser.text("document.querySelector('#details .error').textContent");
    assert!(error.contains("signal 'tail' is driven twice"), "{error}");
    browser.picture("sweep-search", false);
    browser.key("Escape");
    let state = browser.state();
    assert_eq!((&state["found"], &state["selected"]), (&Value::Null, &Value::Null), "{state}");

    // Zoom: what is under the mouse stays there.
    let before = browser.state();
    let (x, y) = place(browser, &call);
    browser.wheel(x, y, -600.0, 2);
    let after = browser.state();
    let wide = |state: &Value| number(state, "to") - number(state, "from");
    assert!((wide(&before) / wide(&after) - 1.18_f64.powi(6)).abs() < 0.01, "{before} {after}");
    let again = place(browser, &call);
    assert!((again.0 - x).abs() < 1.5, "{x} {again:?}");
    browser.wheel(x, y, 300.0, 8);
    assert!(number(&browser.state(), "from") > number(&after, "from"), "Shift moves in time");
    let from = number(&browser.state(), "from");
    browser.drag((x, y + 4.0), (x + 150.0, y + 4.0));
    let state = browser.state();
    assert!(number(&state, "from") < from && state["selected"].is_null(), "a drag is no click");
    browser.press("#fit");
    assert!((wide(&browser.state()) - wide(&before)).abs() < 1.0);
    let strip = browser.eval("(() => { const b = document.getElementById('overview').getBoundingClientRect(); return [b.left, b.top, b.width]; })()");
    let at = |which: usize| strip[which].as_f64().expect("a place");
    browser.drag((at(0) + 300.0, at(1) + 30.0), (at(0) + 500.0, at(1) + 30.0));
    let state = browser.state();
    assert!(wide(&state) < wide(&before) / 4.0, "{state}");
    browser.picture("sweep-zoomed", false);

    // Keys.
    browser.eval("document.getElementById('timeline').focus()");
    let mut last = browser.state();
    for (key, grows) in [("+", false), ("-", true), ("0", true)] {
        browser.key(key);
        let state = browser.state();
        assert_eq!(wide(&state) > wide(&last), grows, "{key}: {last} {state}");
        last = state;
    }
    browser.key("+");
    last = browser.state();
    browser.key("ArrowRight");
    assert!(number(&browser.state(), "from") > number(&last, "from"));
    browser.key("n");
    let first = browser.state()["selected"].clone();
    browser.key("n");
    let second = browser.state()["selected"].clone();
    assert!(!first.is_null() && first != second);
    browser.key("p");
    assert_eq!(browser.state()["selected"], first);
    browser.key("Enter");
    assert_eq!(browser.eval("document.activeElement.closest('#details') !== null"), json!(true));
    browser.key("Escape");
    for (key, what) in [("c", "path"), ("w", "waits"), ("e", "edges")] {
        let before = browser.state()[what].clone();
        browser.key(key);
        assert_ne!(browser.state()[what], before, "{key}");
        browser.key(key);
    }
    browser.key("?");
    assert!(text_of(browser, "help").contains("Ctrl + wheel"));
    browser.key("?");

    // Rows, filters, colours, tables.
    browser.press("label:has(input[value=functions]) span");
    assert_eq!(browser.state()["mode"], "functions");
    browser.picture("sweep-functions", false);
    browser.press("label:has(input[value=calls]) span");
    assert_eq!(browser.state()["rows"], 21);
    browser.key("0");
    browser.picture("sweep-calls", false);
    browser.press("label:has(input[value=workers]) span");
    let rows = number(&browser.state(), "rows");
    browser.press("#worker-menu summary");
    browser.eval("[...document.querySelectorAll('#worker-menu label')].find((l) => l.textContent === 'eda/0').querySelector('input').click()");
    assert!(number(&browser.state(), "rows") < rows);
    assert_eq!(
        browser.text("document.querySelector('#worker-menu summary').textContent"),
        "Workers (3 of 4)"
    );
    browser.picture("sweep-filter", false);
    browser.press("#worker-menu .both button");
    browser.press("#title");
    assert_eq!(number(&browser.state(), "rows"), rows);
    browser.eval("(() => { const s = document.getElementById('colour'); s.value = 'outcome'; s.dispatchEvent(new Event('change')); })()");
    assert!(text_of(browser, "legend").contains("cancelled"));
    browser.press("section[aria-label=Functions] th:nth-child(2) button");
    let top =
        browser.text("document.querySelector('section[aria-label=Functions] tbody tr').innerText");
    assert!(top.starts_with("simulate"), "{top}");
    browser.press("section[aria-label=Functions] th:nth-child(2) button");
    assert_eq!(
        browser.text(
            "document.querySelector('section[aria-label=Functions] th:nth-child(2)').ariaSort"
        ),
        "ascending"
    );

    // Themes, and a narrow window.
    let back = "getComputedStyle(document.body).backgroundColor";
    let light = browser.text(back);
    browser.press("#theme");
    assert_eq!(browser.state()["theme"], "dark");
    assert_ne!(browser.text(back), light);
    browser.eval("(() => { const s = document.getElementById('colour'); s.value = 'function'; s.dispatchEvent(new Event('change')); })()");
    browser.picture("sweep-dark", false);
    browser.picture("sweep-dark-whole", true);
    let size = json!({ "width": 600, "height": 800, "deviceScaleFactor": 2, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", size);
    browser.picture("sweep-narrow", false);
    assert!(browser.number("document.documentElement.scrollWidth") <= 600.0, "nothing sticks out");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
#[ignore = "20,000 calls: ten seconds"]
fn soak_twenty_thousand_calls() {
    let Some((_folder, mut browser)) = open(&logs::many(20_000).text(), &[]) else { return };
    let browser = &mut browser;
    browser.picture("many-light", false);
    browser.picture("many-light-whole", true);
    let state = browser.state();
    // All are drawn, hardly any as a box of its own.
    let drawn =
        |state: &Value| (number(&state["drawn"], "boxes"), number(&state["drawn"], "merged"));
    let (boxes, merged) = drawn(&state);
    assert!(merged > 19_000.0 && boxes < 200.0, "{state}");
    browser.wheel(700.0, 420.0, -2_400.0, 2);
    let state = browser.state();
    let (boxes, merged) = drawn(&state);
    assert!(boxes > 100.0 && merged < 2_000.0, "{state}");
    browser.picture("many-zoomed", false);
    browser.key("0");
    browser.key("/");
    browser.write("residual");
    assert_eq!(browser.state()["found"], 4);
    browser.key("Enter");
    let state = browser.state();
    assert!(!state["selected"].is_null(), "{state}");
    assert!(
        number(&state, "to") - number(&state, "from") < 100_000.0,
        "near enough to be seen: {state}"
    );
    browser.picture("many-failure", false);
    browser.key("Escape");
    browser.key("Escape");
    browser.eval("document.getElementById('timeline').focus()");
    browser.key("r");
    browser.key("0");
    browser.picture("many-functions", false);
    browser.key("r");
    let state = browser.state();
    assert_eq!(state["rows"], 20_000, "{state}");
    browser.wheel(700.0, 500.0, 5_000.0, 0);
    assert!(number(&browser.state(), "top") >= 4_999.0);
    browser.picture("many-calls", false);
    browser.key("r");
    browser.key("t");
    browser.key("c");
    browser.picture("many-dark", false);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn hostile_names_and_several_runs() {
    let text = logs::hostile().text() + &logs::sweep().text();
    let Some((folder, mut browser)) = open(&text, &["--run", "all"]) else { return };
    let browser = &mut browser;
    assert_eq!(text_of(browser, "title"), "rtl_sweep", "the last one first");
    let choose = "(() => { const s = document.getElementById('run'); s.value = '0'; s.dispatchEvent(new Event('change')); })()";
    browser.eval(choose);
    for _ in 0..3 {
        for _ in 0..4 {
            browser.key("n");
            browser.state();
        }
        let (x, y) = place(browser, &format!("{}1", logs::HOSTILE[1]));
        browser.hover(x, y);
        browser.key("r");
    }
    browser.picture("hostile", true);
    assert!(text_of(browser, "panels").contains(logs::HOSTILE[0]), "it is text");
    assert_eq!(browser.eval("typeof window.pwned"), json!("undefined"));
    assert_eq!(
        browser.number("document.querySelectorAll('img, script:not([type]), b b').length"),
        1.0
    );
    assert_eq!(browser.complaints, [""; 0]);
    // The policy of the page refuses what is not ours, if ever it got in.
    browser.eval("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.pwned = 3' }))");
    browser.eval(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=4\">')",
    );
    browser.state();
    assert_eq!(browser.eval("typeof window.pwned"), json!("undefined"));

    // The picture of the same run, by itself; and one in the dark.
    folder.well(&["run.log", "--run", "1", "--format", "svg", "-o", "graph.svg"]);
    folder.write("sweep.log", logs::sweep().text());
    folder.well(&["sweep.log", "--format", "svg", "-o", "sweep.svg"]);
    folder.write("many.log", logs::many(2_500).text());
    folder.well(&["many.log", "--format", "svg", "-o", "many.svg"]);
    browser.complaints.clear();
    for name in ["graph", "sweep", "many"] {
        let url = format!("file://{}", folder.path().join(format!("{name}.svg")).display());
        browser.call("Page.navigate", json!({ "url": url }));
        browser.until(
            "document.documentElement.tagName === 'svg' && document.readyState === 'complete'",
        );
        assert!(browser.number("document.querySelectorAll('rect').length") > 4.0);
        assert_eq!(browser.eval("typeof window.pwned"), json!("undefined"));
        browser.bare_picture(&format!("svg-{name}"));
        for theme in ["dark", "light"] {
            let features =
                json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
            browser.call("Emulation.setEmulatedMedia", features);
            let paper = browser.text("getComputedStyle(document.querySelector('.paper')).fill");
            assert_eq!(paper == "rgb(255, 255, 255)", theme == "light", "{paper}");
            if theme == "dark" {
                browser.bare_picture(&format!("svg-{name}-dark"));
            }
        }
    }
    assert_eq!(browser.complaints, [""; 0]);
}
