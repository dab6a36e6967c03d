"""`moor init`: something to start from.

    moor init NAME             blank.py: prints a commented ModelDeployment
    moor init KIND [FOLDER]    command.py -> process.py: a child trains a small model on real data -> files, and what to do next

What trains is the predictor's (`moorage_predictor/scaffolds`): it needs torch, and no room of the operator imports that. A new
kind is a row in `kinds.py` and a module of the same name there.
"""
