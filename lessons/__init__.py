"""The course: one idea a lesson, each built on the engine and on the lessons before it."""
