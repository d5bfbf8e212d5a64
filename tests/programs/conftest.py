"""The scripts are input of test_programs.py; pytest must not import them by themselves."""

collect_ignore = ["scripts"]
