"""lit configuration: every .mlir (and .json, .test) file under here with RUN lines is a test.

`amk-opt`, `amk-translate`, `amk` and `filecheck` are taken from the environment that runs lit.
"""

import os
import sys

import lit.formats
import lit.LitConfig
import lit.TestingConfig

config: lit.TestingConfig.TestingConfig
lit_config: lit.LitConfig.LitConfig

config.name = "amk"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.dirname(os.path.abspath(__file__))
config.test_exec_root = os.path.join(config.test_source_root, "Output")
config.environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
for name in ("HOME", "AMK_CACHE", "PYTHONPATH"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
config.maxIndividualTestTime = 120
