"""Errors that a user can mend; the command prints their message without a traceback.

FaceSRError
├── ParamsError       params.yaml or an option does not fit
├── DataError         pictures, pairs or reports are missing, damaged or do not belong together
├── CheckpointError   weights are missing, damaged or of another network
└── RegistryError     MLflow does not answer, or does not hold what was asked for

Every message says what is wrong, where, and what to do next.
"""


class FaceSRError(Exception):
    """Anything that the user of facesr can mend."""


class ParamsError(FaceSRError):
    """A parameter is unknown, missing, of the wrong type or contradicts another."""


class DataError(FaceSRError):
    """Pictures, pairs or reports are missing, damaged or do not belong together."""


class CheckpointError(FaceSRError):
    """Weights are missing, damaged or belong to another network."""


class RegistryError(FaceSRError):
    """The MLflow store does not answer, or does not hold what was asked for."""
