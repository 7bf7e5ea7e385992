"""One script per stage of dvc.yaml; each calls one function of facesr."""
