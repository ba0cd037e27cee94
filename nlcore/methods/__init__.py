"""The methods by name. Each is a module with the same four parts, read in its file from top to bottom.

`SETS` and `LABELLED` name the sets that a division puts samples in; `PRESETS` maps "tuned" and "paper" to a config;
`divide(snapshot, given_labels, classify, config, memory, generator)` returns a `Division` and a report. `memory` is the
method's own dictionary, kept from epoch to epoch; a method that keeps a network there says with
`restore_memory(stored, device)` how it comes back from a checkpoint.
"""

from nlcore.methods import anchor, ce, dividemix, tssd

METHODS = {"ce": ce, "dividemix": dividemix, "tssd": tssd, "anchor": anchor}
