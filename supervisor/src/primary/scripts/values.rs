//! Scenarios of workers that refuse the shared values.

use super::*;

#[test]
fn a_generation_that_refuses_its_values_changes_nothing() {
    let mut sim = up(app(GOOD, 2));
    // Before the first successor takes over, and after.
    for after in [20, 1050] {
        let serving = sim.primary.status(sim.now).generation;
        let client = sim.ask(reload(&format!("serve port=8000 refuses={after}"), 2));
        let (kind, reason, _) = failed(sim.answer(client));
        assert_eq!((kind, sim.app_status()), (FailureKind::RolledBack, Status::Ready));
        assert!(reason.ends_with(": it refused the shared values: too high"), "{reason}");
        assert_eq!(sim.primary.status(sim.now).generation, serving);
    }
    // Without a reload, a refusal has no consequence.
    let sim = up(app("serve port=8000 refuses=20", 2));
    assert_eq!((sim.app_status(), sim.ids().len()), (Status::Ready, 2));
}
