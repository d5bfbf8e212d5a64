"""The exercises: functions to write. ``minillm check NN`` says whether they are right."""
