"""What a labeling config means: fields of a task, controls, annotations. No I/O."""
