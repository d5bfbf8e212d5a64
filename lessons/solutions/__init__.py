"""One solution for each exercise. Try it yourself first: ``minillm check NN`` gives hints."""
