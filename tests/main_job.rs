//! Tests: main job.
