"""Starts MLflow's server in a container; what stands in its way is one line and exit status 1.

MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION name database and artifacts. The password
of PostgreSQL comes from the file that PGPASSWORD_FILE names: MLflow reads no such file, and libpq
refuses a password file that others can read, as Docker's secrets are.
"""

import os
import sys
import tempfile
from pathlib import Path


def check_artifacts(destination: str) -> None:
    """End if the folder cannot be written: MLflow would say OK and fail at every upload."""
    if "://" in destination:
        return
    try:
        tempfile.TemporaryFile(dir=destination).close()
    except OSError as error:
        user = os.getuid()
        sys.exit(
            f"error: {destination} cannot be written by user {user} ({error.strerror}). Make the "
            f"volume's folder theirs: chown {user} FOLDER"
        )


def check_database(uri: str) -> None:
    """End if PostgreSQL refuses: MLflow would try again for minutes, with a trace each time."""
    if not uri.startswith("postgresql"):
        return
    import psycopg

    try:
        psycopg.connect(uri.replace("+psycopg", "", 1), connect_timeout=10).close()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        sys.exit(f"error: the database refuses ({reason}). Check its name, user and password file.")


def main() -> None:
    """Check, then become MLflow's server, so that signals reach it."""
    if path := os.environ.get("PGPASSWORD_FILE"):
        try:
            os.environ["PGPASSWORD"] = Path(path).read_text().strip()
        except OSError as error:
            sys.exit(f"error: {path} cannot be read ({error.strerror}). Run: make secrets")
    if not os.environ.get("MLFLOW_S3_ENDPOINT_URL"):
        # Empty is no address to boto3.
        os.environ.pop("MLFLOW_S3_ENDPOINT_URL", None)
    check_artifacts(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    check_database(os.environ["MLFLOW_BACKEND_STORE_URI"])
    # Four workers, MLflow's default, take 2.3 GB and do not start on two busy cores.
    os.execvp("mlflow", ["mlflow", "server", "--workers", "1", *sys.argv[1:]])


if __name__ == "__main__":
    main()
