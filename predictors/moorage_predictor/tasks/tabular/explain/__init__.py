"""What each feature added to a prediction: base + the sum of the values = the model's output, for each row.

| model                                            | values                                                              |
|--------------------------------------------------|---------------------------------------------------------------------|
| XGBoost, LightGBM                                | their own exact TreeSHAP (`estimators/`)                            |
| scikit-learn's trees, forests, boosting          | shap.TreeExplainer, exact (`exact.py`)                              |
| linear models                                    | coefficient times distance from the background's mean (`exact.py`)  |
| torch modules                                    | captum's ShapleyValueSampling, seeded (`modules.py`)                |
| all else                                         | permutations in shap's PermutationExplainer, seeded (`sampled.py`)  |

Called in the thread that explains, never in the one that predicts. shap brings numba, captum matplotlib: no other module
imports them, and these only when they are called.
"""
