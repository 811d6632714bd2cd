"""`python -m rainzmq.subworker`."""

import sys

from rainzmq.subworker.serve import main

sys.exit(main())
