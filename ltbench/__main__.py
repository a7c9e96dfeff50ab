"""`python -m ltbench`."""

from ltbench.system.python_path import leave_out_working_folder

leave_out_working_folder()

from ltbench.cli import main  # noqa: E402

main()
