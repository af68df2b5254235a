"""Messages and rules of task definitions."""
from messages import refusal

CLIENT = "ClientException"

CASES = [
    refusal("1.2", "describe a definition that does not exist", "DescribeTaskDefinition",
            {"taskDefinition": "nothing"}, CLIENT, "Unable to describe task definition."),
]

UNREACHABLE = []
