//! Plans by hand, and plans of generated configurations.

use config::cpus::CpuLimit;
use config::spec::{Instances, Overrides};
use proptest::prelude::*;

use super::*;

const CPUS: Cpus = Cpus { count: 4, limit: CpuLimit::Machine };

fn spec(name: &str) -> AppSpec {
    let mut spec = AppSpec::new(name, vec!["serve".into()], "/srv".into());
    spec.source = Some("/srv/apps.toml".into());
    spec
}

fn wanted(spec: AppSpec, present: Present) -> Wanted {
    Wanted { spec, counted: ["default".to_owned()].into(), present }
}

fn runs(spec: AppSpec) -> Present {
    Present::Runs(Box::new(spec))
}

fn plan(wanted: &[Wanted], others: &[Other], flags: &Flags) -> Vec<(String, Step)> {
    let plan = decide(wanted, others, flags, &CPUS);
    plan.into_iter().map(|planned| (planned.name, planned.step)).collect()
}

fn step(to: AppSpec, present: Present) -> Step {
    plan(&[wanted(to, present)], &[], &Flags::default())[0].1
}

#[test]
fn each_state_and_each_change_has_its_step() {
    let web = || spec("web");
    assert_eq!(step(web(), runs(web())), Step::Nothing);
    assert_eq!(step(web(), Present::Absent), Step::Start);
    assert_eq!(step(web(), Present::Idle(None)), Step::Start);
    assert_eq!(step(web(), Present::Lost(None)), Step::Restart);
    assert_eq!(step(web(), Present::Unknown("it hangs".into())), Step::Fail);
    assert_eq!(step(AppSpec { autostart: false, ..web() }, Present::Absent), Step::Nothing);
    assert_eq!(step(AppSpec { autostart: false, ..web() }, runs(web())), Step::Live);
    let three = AppSpec { instances: Instances::Count(3), wanted: 3, ..web() };
    assert_eq!(step(three.clone(), runs(web())), Step::Live);
    assert_eq!(
        step(AppSpec { shared: Some("{\"a\":1}".into()), ..web() }, runs(web())),
        Step::Live
    );
    let command = vec!["serve".to_owned(), "fast".to_owned()];
    assert_eq!(step(AppSpec { command, ..three }, runs(web())), Step::Reload);
}

#[test]
fn a_job_that_has_done_its_work_is_done_again_only_after_a_change() {
    let done = |spec: AppSpec| Present::Done(Box::new(spec));
    assert_eq!(step(spec("job"), done(spec("job"))), Step::Nothing);
    let command = vec!["migrate".to_owned(), "2".to_owned()];
    assert_eq!(step(AppSpec { command, ..spec("job") }, done(spec("job"))), Step::Start);
}

#[test]
fn an_app_that_moved_to_another_file_is_told_so() {
    let moved = AppSpec { source: Some("/srv/other.toml".into()), ..spec("web") };
    let applied = AppSpec { applied: true, ..spec("web") };
    assert_eq!(step(moved.clone(), runs(applied)), Step::Live);
    assert_eq!(step(moved.clone(), runs(moved.clone())), Step::Nothing);
    // A copy that was exported changes nothing.
    assert_eq!(step(moved, runs(spec("web"))), Step::Nothing);
}

#[test]
fn a_stopped_app_keeps_the_number_that_scale_set() {
    let scaled = Box::new(AppSpec { wanted: 5, ..spec("web") });
    for present in [Present::Idle(Some(scaled.clone())), Present::Lost(Some(scaled))] {
        let silent = Wanted { counted: BTreeSet::new(), ..wanted(spec("web"), present) };
        let plan = decide(&[silent], &[], &Flags::default(), &CPUS);
        assert_eq!(plan[0].to.as_ref().map(|to| (to.wanted, to.applied)), Some((5, true)));
    }
}

#[test]
fn a_number_that_scale_set_stays_only_where_the_file_says_none() {
    let scaled = AppSpec { wanted: 5, ..spec("web") };
    assert_eq!(step(spec("web"), runs(scaled.clone())), Step::Live);
    let silent = Wanted { counted: BTreeSet::new(), ..wanted(spec("web"), runs(scaled)) };
    assert_eq!(plan(&[silent], &[], &Flags::default())[0].1, Step::Nothing);
}

#[test]
fn only_what_apply_started_from_these_files_is_pruned_and_goes_first() {
    let other =
        |name: &str, applied, of_this_set| Other { name: name.to_owned(), applied, of_this_set };
    let others =
        [other("old", true, true), other("by-hand", false, true), other("elsewhere", true, false)];
    let wanted = [wanted(spec("web"), Present::Absent)];
    let names = |flags: &Flags| plan(&wanted, &others, flags);
    assert_eq!(names(&Flags::default()), [("web".to_owned(), Step::Start)]);
    let prune = Flags { prune: true, ..Flags::default() };
    assert_eq!(names(&prune), [("old".to_owned(), Step::Delete), ("web".to_owned(), Step::Start)]);
}

#[test]
fn only_leaves_the_others_out_and_starts_what_is_named() {
    let web = wanted(AppSpec { autostart: false, ..spec("web") }, Present::Absent);
    let api = wanted(spec("api"), Present::Absent);
    let only = Flags { only: vec!["web".to_owned()], ..Flags::default() };
    assert_eq!(plan(&[web, api], &[], &only), [("web".to_owned(), Step::Start)]);
}

#[test]
fn flags_of_the_start_stay_unless_told_otherwise() {
    let mut running = spec("web");
    Overrides::of(&[("env", "A=1")]).unwrap().attach(&mut running, &CPUS);
    let web = [wanted(spec("web"), runs(running))];
    let planned = &decide(&web, &[], &Flags::default(), &CPUS)[0];
    assert_eq!((planned.step, planned.kept.join(" ")), (Step::Nothing, "--env A".to_owned()));
    let as_written = Flags { as_written: true, ..Flags::default() };
    let planned = &decide(&web, &[], &as_written, &CPUS)[0];
    assert_eq!((planned.step, planned.changes[0].key.as_str()), (Step::Reload, "env.A"));
}

#[test]
fn what_apply_starts_is_marked_and_stays_so() {
    let start = &decide(&[wanted(spec("web"), Present::Absent)], &[], &Flags::default(), &CPUS)[0];
    assert!(start.to.as_ref().unwrap().applied);
    let running = AppSpec { applied: true, ..spec("web") };
    let changed = AppSpec { stop_signal: 2, ..spec("web") };
    let reload = &decide(&[wanted(changed, runs(running))], &[], &Flags::default(), &CPUS)[0];
    assert!(reload.step == Step::Reload && reload.to.as_ref().unwrap().applied);
}

prop_compose! {
    /// Any of a few values for keys of every kind of change, so that pairs often agree in some.
    fn any_spec()(
        command in prop::sample::select(vec!["serve", "serve --fast", "other"]),
        count in 1u16..4,
        max in any::<bool>(),
        scaled in prop::option::of(1u16..6),
        env in prop::collection::btree_map("[AB]", "[xy]", 0..3),
        shared in prop::option::of("[12]"),
        autostart in any::<bool>(),
        signal in prop::sample::select(vec![2, 15]),
        hash in prop::option::of(1u16..3),
    ) -> AppSpec {
        let mut spec = spec("web");
        spec.command = command.split(' ').map(str::to_owned).collect();
        spec.instances = if max { Instances::Max } else { Instances::Count(count) };
        spec.env = env;
        spec.shared = shared.map(|value| format!("{{\"a\":{value}}}"));
        (spec.autostart, spec.stop_signal) = (autostart, signal);
        if let Some(count) = hash {
            let mut pool = config::spec::PoolSpec::new("hash", vec!["hasher".into()]);
            pool.instances = Instances::Count(count);
            spec.pools.push(pool);
        }
        spec.resolve(&CPUS);
        spec.wanted = scaled.unwrap_or(spec.wanted);
        spec
    }
}

/// What the primary makes of a step (`primary/jobs`).
fn carried_out(planned: &Planned, running: &AppSpec) -> AppSpec {
    let to = || AppSpec::clone(planned.to.as_ref().unwrap());
    match planned.step {
        Step::Nothing => running.clone(),
        Step::Live => {
            let mut now = running.clone();
            difference::adopt(&mut now, &to());
            now.wanted = to().wanted;
            for (pool, to) in now.pools.iter_mut().zip(to().pools) {
                pool.wanted = to.wanted;
            }
            now.shared = to().shared;
            now
        }
        Step::Reload | Step::Start | Step::Restart => to(),
        Step::Delete | Step::Fail => panic!("{planned:?}"),
    }
}

proptest! {
    #[test]
    fn what_was_applied_needs_nothing_more(running in any_spec(), mut to in any_spec(), counted: bool) {
        to.resolve(&CPUS);
        let all = ["default".to_owned(), "hash".to_owned()];
        let counted: BTreeSet<String> = all.into_iter().filter(|_| counted).collect();
        let wanted = |present| [Wanted { spec: to.clone(), counted: counted.clone(), present }];
        let first = decide(&wanted(runs(running.clone())), &[], &Flags::default(), &CPUS);
        let now = carried_out(&first[0], &running);
        let second = decide(&wanted(runs(now)), &[], &Flags::default(), &CPUS);
        prop_assert_eq!(second[0].step, Step::Nothing, "{:?}", second[0].changes);
        prop_assert!(second[0].changes.is_empty());
    }

    #[test]
    fn no_value_of_a_variable_is_in_a_plan(from in "[a-z]{12}", to in "[a-z]{12}") {
        let with = |secret: &str| {
            let shared = Some(format!("{{\"token\":\"{secret}\"}}"));
            let env = [("TOKEN".to_owned(), secret.to_owned())].into();
            AppSpec { env, shared, ..spec("web") }
        };
        let plan = decide(&[wanted(with(&to), runs(with(&from)))], &[], &Flags::default(), &CPUS);
        let shown = serde_json::to_string(&plan[0].changes).unwrap();
        prop_assert!(from == to || shown.contains("env.TOKEN"));
        prop_assert!(!shown.contains(&from) && !shown.contains(&to));
    }
}
