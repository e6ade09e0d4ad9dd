//! The console by the keyboard alone.

use crate::person::Person;
use crate::site::Site;
use quarry_aws::elbv2::op as elbv2;
use quarry_testkit::browser::{ENTER, ESCAPE, TAB};
use quarry_testkit::wait_for;
use serde_json::{Value, json};

/// What can be focused, in the page's order.
const STOPS: &str = "[...document.querySelectorAll('a[href], button, summary, select, input:not([type=hidden]), \
                     [tabindex=\"0\"]')].filter((e) => !e.disabled && e.checkVisibility())";
/// Of a page with more, these are gone through.
const MANY: usize = 250;

impl Person<'_> {
    /// Goes through the page by Tab: to each link, button and field once, in the page's order, and each is seen to be where
    /// the focus is.
    pub fn tabs_through(&self, name: &str) {
        // Updates would put other elements in their place.
        let pause = "const pause = document.getElementById('pause'); if (pause && !pause.hidden) pause.click();";
        let watch = format!(
            "{pause} const body = document.body; body.tabIndex = -1; body.focus(); body.removeAttribute('tabindex'); const stops = {STOPS}; \
             window.visited = []; \
             window.watching = (event) => {{ \
               const e = event.target, style = getComputedStyle(e), box = e.getBoundingClientRect(); \
               const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; \
               const seen = box.width > 0 && box.height > 0 && box.right > 0; \
               visited.push([stops.indexOf(e), ring && seen, e.outerHTML.slice(0, 120)]); \
             }}; \
             document.addEventListener('focusin', window.watching); return stops.map((e) => e.outerHTML.slice(0, 120))"
        );
        let stops = self.browser.script(&watch);
        let stops = stops.as_array().unwrap();
        let count = stops.len().min(MANY);
        self.browser.types(std::iter::repeat_n(TAB, count));
        let visited = self.browser.script(&format!(
            "document.removeEventListener('focusin', window.watching); document.activeElement.blur(); \
             scrollTo(0, 0); {pause} return window.visited"
        ));
        let visited = visited.as_array().unwrap();
        for (number, stop) in stops.iter().take(count).enumerate() {
            let reached = visited.get(number).unwrap_or(&Value::Null);
            assert_eq!(reached[0], number, "{name}: Tab does not lead to {stop} but to {}", reached[2]);
            assert_eq!(reached[1], true, "{name}: nobody sees that the focus is at {stop}");
        }
    }

    /// Presses Tab until the focus is at an element.
    fn tabs_to(&self, selector: &str) {
        self.first_paint();
        let is_there = format!("return document.activeElement.matches({})", json!(selector));
        for _ in 0..MANY {
            if self.browser.script(&is_there) == json!(true) {
                return;
            }
            self.browser.types([TAB]);
        }
        panic!("Tab does not lead to {selector}");
    }

    /// Skips to the content by the page's first link.
    fn skips(&self) {
        self.first_paint();
        self.browser.types([TAB]);
        assert_eq!(self.focus("textContent"), "Skip to the content");
        let shown = self.browser.script("return document.activeElement.getBoundingClientRect().left >= 0");
        assert_eq!(shown, json!(true), "it is shown while it has the focus");
        self.browser.types([ENTER]);
        wait_for("the content", || (self.focus("id") == "main").then_some(()));
        self.browser.types([TAB]);
        let inside = self.browser.script("return document.getElementById('main').contains(document.activeElement)");
        assert_eq!(inside, json!(true), "what comes next is in the content");
    }

    fn focus(&self, property: &str) -> String {
        let value = self.browser.script(&format!("return document.activeElement.{property}"));
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// Something is made and deleted, something is given up, and an update takes the focus from nobody.
pub fn alone(site: &Site, person: &Person<'_>) {
    let groups = || -> Vec<String> {
        let all = site.call::<elbv2::DescribeTargetGroups>(json!({})).target_groups.unwrap();
        all.into_iter().filter_map(|group| group.target_group_name).collect()
    };
    let keys = |keys: &str| person.browser.types(keys.chars());
    let reviewed = || wait_for("the call", || person.sees("main").contains("The same from a shell").then_some(()));

    person.goes_to("/target-groups");
    person.skips();
    person.tabs_to("#create input[name=name]");
    keys("typed");
    // A choice by its first letters; Escape changes nothing.
    person.tabs_to("#create select[name=target_type]");
    keys("ip");
    person.browser.types([ESCAPE]);
    assert_eq!(person.focus("value"), "ip");
    person.tabs_to("#create input[name=timeout]");
    person.browser.types(['\u{e010}', '\u{e003}', '2', ENTER]);
    reviewed();
    assert!(!groups().contains(&"typed".to_owned()), "nothing is done before it is confirmed");
    person.skips();
    person.tabs_to("button.main");
    person.browser.types([ENTER]);
    wait_for("it is made", || groups().contains(&"typed".to_owned()).then_some(()));

    wait_for("its page", || (person.sees("h1") == "typed").then_some(()));
    let delete = "form[action='/do/delete-target-group'] button";
    person.tabs_to(delete);
    person.browser.types([ENTER]);
    reviewed();
    person.tabs_to("form a");
    assert_eq!(person.focus("textContent"), "Cancel");
    person.browser.types([ENTER]);
    wait_for("the way back", || (!person.sees("main").contains("The same from a shell")).then_some(()));
    assert!(groups().contains(&"typed".to_owned()));
    person.goes_to("/target-groups/typed");
    person.tabs_to(delete);
    person.browser.types([ENTER]);
    reviewed();
    person.tabs_to("button.main");
    person.browser.types([ENTER]);
    wait_for("it is deleted", || (!groups().contains(&"typed".to_owned())).then_some(()));

    // What is folded away opens and closes, and its fields are reached only then.
    person.goes_to("/load-balancers/demo");
    person.tabs_to("details:has(form[action='/do/create-rule']) summary");
    let open = || person.browser.script("return document.activeElement.parentElement.open") == json!(true);
    assert!(!open());
    person.browser.types([ENTER]);
    wait_for("it opens", || open().then_some(()));
    person.browser.types([TAB]);
    assert_eq!(person.focus("form.id") + &person.focus("tagName"), "INPUT");
    person.goes_to("/clusters/demo/services/shop");
    // The pages' updates are stopped, and go on, by a button.
    person.tabs_to("#pause");
    for pressed in ["true", "false"] {
        person.browser.types([' ']);
        let state = "return document.activeElement.getAttribute('aria-pressed')";
        assert_eq!(person.browser.script(state), json!(pressed));
    }
}
