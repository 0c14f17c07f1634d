"""The server of label-studio-ml with the active sampler as its model."""

from __future__ import annotations

import argparse
import os

from active_learn_backend.logs import set_up
from active_learn_backend.settings import load_settings
from label_studio_ml.api import init_app
from model import ActiveLearningModel

set_up(load_settings())  # the log of this backend, without secrets

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Label Studio")
    parser.add_argument("-p", "--port", type=int, default=9090, help="Server port")
    parser.add_argument("--host", default="0.0.0.0", help="Server host")  # noqa: S104
    parser.add_argument("-d", "--debug", action="store_true", help="Switch debug mode")
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.add_argument("--model-dir", help="Ignored: set MODEL_DIR")
    parser.add_argument("--check", action="store_true", help="Ignored: there is nothing to load")
    parser.add_argument("--basic-auth-user", default=os.environ.get("BASIC_AUTH_USER"))
    parser.add_argument("--basic-auth-pass", default=os.environ.get("BASIC_AUTH_PASS"))
    options = parser.parse_args()
    app = init_app(
        model_class=ActiveLearningModel,
        basic_auth_user=options.basic_auth_user,
        basic_auth_pass=options.basic_auth_pass,
    )
    app.run(host=options.host, port=options.port, debug=options.debug)
else:
    app = init_app(model_class=ActiveLearningModel)
