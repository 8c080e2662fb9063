//! The gallery: templates that come with the program. Each is a file in `src/gallery/`, named like its flow; a test makes a
//! flow of each and runs it against a receiver (`tests/it/orchestration/gallery.rs`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use core314_domain::document::FlowDocument;

/// The files' texts.
const FILES: &[&str] = &[
    include_str!("gallery/backup-and-verify.yaml"),
    include_str!("gallery/batch-clean-up.yaml"),
    include_str!("gallery/data-sync.yaml"),
    include_str!("gallery/deploy-with-approval.yaml"),
    include_str!("gallery/health-check-and-restart.yaml"),
    include_str!("gallery/incident-response.yaml"),
    include_str!("gallery/nightly-report.yaml"),
    include_str!("gallery/on-call-handover.yaml"),
    include_str!("gallery/retry-with-escalation.yaml"),
    include_str!("gallery/seven-phase-release.yaml"),
    include_str!("gallery/sla-reminder.yaml"),
    include_str!("gallery/webhook-to-chat.yaml"),
];

/// The templates by their names.
pub static GALLERY: LazyLock<BTreeMap<String, FlowDocument>> = LazyLock::new(|| {
    let read = |text: &&str| FlowDocument::from_text(text).expect("the files of the gallery are read by a test");
    FILES.iter().map(read).map(|template| (template.flow_name.clone(), template)).collect()
});

#[cfg(test)]
mod tests {
    use core314_domain::document::{parameters, short, warnings};
    use core314_domain::plan::{FlowPlan, PlanLimits};

    use super::*;

    #[test]
    fn every_file_is_in_the_gallery_under_its_own_name() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gallery");
        let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
        let mut files: Vec<String> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
        files.sort();
        let names: Vec<String> = GALLERY.keys().map(|name| format!("{name}.yaml")).collect();
        assert_eq!(names, files);
        assert!(GALLERY.len() >= 10);
    }

    #[test]
    fn every_template_is_sound_and_says_what_it_asks() {
        let types = ["api_call", "trigger_webhook", "send_notification", "transform"];
        for (name, template) in &*GALLERY {
            assert!(template.is_template && !template.flow_description.is_empty(), "{name}");
            assert_eq!(parameters::problems(template), [], "{name}");
            assert_eq!(parameters::unused(template), [""; 0], "{name}");
            let sample = parameters::sample(template).unwrap_or_else(|error| panic!("{name}: {error}"));
            FlowPlan::compile(&sample, &types, &PlanLimits::default())
                .unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
            assert_eq!(warnings::warnings(&sample), [], "{name}");
            let short = short::shorten(template);
            assert_eq!(FlowDocument::from_value(short).as_ref(), Ok(template), "{name}");
            for (parameter, about) in &template.parameters {
                assert!(!about.is_required() || !about.description.is_empty(), "{name}: say what '{parameter}' is");
            }
        }
    }
}
