"""What an answer to an exercise must do: properties with hints, one file a lesson, run by ``minillm check NN``."""
