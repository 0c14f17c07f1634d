"""The server of label-studio-ml with the active sampler as its model."""

from __future__ import annotations

import argparse

from active_learn_backend.logs import set_up
from active_learn_backend.settings import load_settings
from label_studio_ml.api import init_app
from model import ActiveLearningModel

settings = load_settings()  # also of files, as BASIC_AUTH_PASS_FILE names them
set_up(settings)  # the log of this backend, without secrets

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Label Studio")
    parser.add_argument("-p", "--port", type=int, default=9090, help="Server port")
    parser.add_argument("--host", default="0.0.0.0", help="Server host")  # noqa: S104
    parser.add_argument("-d", "--debug", action="store_true", help="Switch debug mode")
    # `label-studio-ml start` may pass these; set the variables instead, which all commands read.
    parser.add_argument("--basic-auth-user", default=settings.basic_auth_user)
    parser.add_argument("--basic-auth-pass", default=settings.basic_auth_pass.get_secret_value())
    options = parser.parse_args()
    app = init_app(ActiveLearningModel, options.basic_auth_user, options.basic_auth_pass)
    app.run(host=options.host, port=options.port, debug=options.debug)
else:
    app = init_app(
        ActiveLearningModel,
        settings.basic_auth_user,
        settings.basic_auth_pass.get_secret_value(),
    )
