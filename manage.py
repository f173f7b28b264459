#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from infrastructure.errors import InfrastructureError
    from infrastructure.persistence import mongodb_errors

    try:
        with mongodb_errors():  # Django's own commands know nothing of them
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a setting that cannot be used: its sentence says which and why
        print(error, file=sys.stderr)
        sys.exit(2)
    except InfrastructureError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
