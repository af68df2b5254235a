"""Security groups and what else of EC2 concerns networks, asked by boto3 and by each AWS CLI."""
import botocore.exceptions
import pytest

import support

EVERYWHERE = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    """A server without a node: nothing here runs."""
    instance = support.Berth(tmp_path_factory.mktemp("ec2"), command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture(scope="module")
def ec2(berth):
    return berth.client("ec2")


@pytest.fixture(scope="module")
def vpc(ec2):
    return ec2.describe_vpcs()["Vpcs"][0]["VpcId"]


@pytest.fixture
def group(ec2, request):
    """A group of the test's own, by its id."""
    made = ec2.create_security_group(GroupName=request.node.name[:200], Description="of a test")
    yield made["GroupId"]
    ec2.delete_security_group(GroupId=made["GroupId"])


def refused(call, **arguments):
    """Code and message of a refusal."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def tcp(first, last=None, **peers):
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last or first, **(peers or EVERYWHERE)}


def permissions(ec2, group, way="IpPermissions"):
    return ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0][way]


def told(permission):
    """A permission without what is empty."""
    return {key: value for key, value in permission.items() if value != []}


# ---- groups -------------------------------------------------------------------------------------


def test_a_vpc_begins_with_two_groups(ec2, vpc):
    groups = {group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert set(groups) >= {"default", "berth"}
    default = groups["default"]
    assert default["Description"] == "default VPC security group" and default["VpcId"] == vpc
    assert [told(one) for one in default["IpPermissions"]] == [
        {"IpProtocol": "-1", "UserIdGroupPairs": [
            {"GroupId": default["GroupId"], "UserId": default["OwnerId"]}]}]
    for group in groups.values():
        assert [told(one) for one in group["IpPermissionsEgress"]] == [
            {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


def test_environment_names_the_group_of_the_tour(berth, ec2):
    named = berth.network()["awsvpcConfiguration"]["securityGroups"]
    groups = ec2.describe_security_groups(GroupIds=named)["SecurityGroups"]
    assert [group["GroupName"] for group in groups] == ["berth"]


def test_a_new_group_lets_all_out_and_nothing_in(ec2, group):
    assert group.startswith("sg-") and len(group) == 20
    assert permissions(ec2, group) == []
    assert [told(one) for one in permissions(ec2, group, "IpPermissionsEgress")] == [
        {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


def test_groups_are_refused_in_ec2s_words(ec2, vpc, group):
    create = ec2.create_security_group
    name = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["GroupName"]
    assert refused(create, GroupName=name, Description="x") == (
        "InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc}'")
    assert refused(create, GroupName="default", Description="x") == (
        "InvalidParameterValue", "Cannot use reserved security group name: default")
    assert refused(create, GroupName="sg-1", Description="x") == (
        "InvalidParameterValue",
        "Invalid value 'sg-1' for groupName. Group names may not be in the format sg-*.")
    assert refused(create, GroupName="x", Description="")[0] == "MissingParameter"
    assert refused(create, GroupName="x", Description="\u00fc")[0] == "InvalidParameterValue"
    assert refused(create, GroupName="x", Description="x" * 256)[0] == "InvalidParameterValue"
    assert refused(create, GroupName="x", Description="x", VpcId="vpc-1") == (
        "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist")
    assert refused(create, GroupName="x", Description="x", DryRun=True) == (
        "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    assert refused(ec2.delete_security_group, GroupId="sg-1") == (
        "InvalidGroup.NotFound", "The security group 'sg-1' does not exist")
    assert refused(ec2.delete_security_group, GroupId="x") == (
        "InvalidGroupId.Malformed", 'Invalid id: "x" (expecting "sg-...")')
    assert refused(ec2.delete_security_group)[0] == "MissingParameter"
    default = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    assert refused(ec2.delete_security_group, GroupId=default) == (
        "CannotDelete",
        f'the specified group: "{default}" name: "default" cannot be deleted by a user')
    assert refused(ec2.describe_security_groups, GroupNames=["nobody"]) == (
        "InvalidGroup.NotFound", f"The security group 'nobody' does not exist in default VPC '{vpc}'")


def test_a_group_that_a_rule_names_stays(ec2, group):
    other = ec2.create_security_group(GroupName="named", Description="x")["GroupId"]
    rule = tcp(80, UserIdGroupPairs=[{"GroupId": other}])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert refused(ec2.delete_security_group, GroupId=other) == (
        "DependencyViolation", f"resource {other} has a dependent object")
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    itself = tcp(80, UserIdGroupPairs=[{"GroupId": other}])
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[itself])
    ec2.delete_security_group(GroupId=other)


# ---- rules --------------------------------------------------------------------------------------


def test_rules_come_back(ec2, group):
    given = [
        tcp(80, 90, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "inside"},
                              {"CidrIp": "100.68.0.18/18"}]),
        {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53,
         "UserIdGroupPairs": [{"GroupId": group, "Description": "us"}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, **EVERYWHERE},
        {"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1,
         "Ipv6Ranges": [{"CidrIpv6": "2001:db8:0:0:0:0:0:1/64"}]},
        {"IpProtocol": "50", **EVERYWHERE},
        {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "192.168.7.9/32"}]},
    ]
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=given)
    assert made["Return"] is True and len(made["SecurityGroupRules"]) == 7
    assert all(rule["SecurityGroupRuleId"].startswith("sgr-") for rule in made["SecurityGroupRules"])
    owner = made["SecurityGroupRules"][0]["GroupOwnerId"]
    given[0]["IpRanges"][1]["CidrIp"] = "100.68.0.0/18"
    given[1]["UserIdGroupPairs"][0]["UserId"] = owner
    given[3]["Ipv6Ranges"][0]["CidrIpv6"] = "2001:db8::/64"
    assert [told(one) for one in permissions(ec2, group)] == given
    listed = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    assert len(listed) == 8 and sum(rule["IsEgress"] for rule in listed) == 1
    assert {rule["SecurityGroupRuleId"] for rule in made["SecurityGroupRules"]} < {
        rule["SecurityGroupRuleId"] for rule in listed}
    [self_rule] = [rule for rule in listed if "ReferencedGroupInfo" in rule]
    assert self_rule["ReferencedGroupInfo"]["GroupId"] == group
    assert (self_rule["FromPort"], self_rule["ToPort"], self_rule["Description"]) == (53, 53, "us")


def test_the_older_form_of_a_rule(ec2, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                         CidrIp="1.2.3.4/32")
    assert [told(one) for one in permissions(ec2, group)] == [
        tcp(22, IpRanges=[{"CidrIp": "1.2.3.4/32"}])]
    ec2.revoke_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22,
                                      CidrIp="1.2.3.4/32")
    assert permissions(ec2, group) == []


RULES_REFUSED = {
    "no end of ports": ({"IpProtocol": "tcp", "FromPort": 80, **EVERYWHERE}, "InvalidParameterValue",
                        "Invalid value 'Must specify both from and to ports with TCP/UDP.' for "
                        "portRange."),
    "a port too high": (tcp(70000), "InvalidPermission.Malformed",
                        "TCP/UDP port (70000) out of range"),
    "ports backwards": (tcp(90, 80), "InvalidParameterValue", "Invalid TCP/UDP port range (90:80)"),
    "no such protocol": ({"IpProtocol": "tpc", **EVERYWHERE}, "InvalidPermission.Malformed",
                         'Unsupported IP protocol "tpc" -- supported: [tcp, udp, icmp, icmpv6, -1, '
                         "0 to 255]"),
    "no range": (tcp(80, IpRanges=[{"CidrIp": "10.0.0.0"}]), "InvalidParameterValue",
                 "CIDR block 10.0.0.0 is malformed"),
    "no range of IPv6": (tcp(80, Ipv6Ranges=[{"CidrIpv6": "::1::/64"}]), "InvalidParameterValue",
                         "CIDR block ::1::/64 is malformed"),
    "nobody": ({"IpProtocol": "-1"}, "InvalidParameterValue",
               "Each permission must have an IP range or a security group"),
    "a prefix list": (tcp(80, PrefixListIds=[{"PrefixListId": "pl-1"}]),
                      "InvalidPrefixListID.NotFound", "The prefix list ID 'pl-1' does not exist"),
    "no such group": (tcp(80, UserIdGroupPairs=[{"GroupId": "sg-9"}]), "InvalidGroup.NotFound",
                      "The security group 'sg-9' does not exist"),
    "a group of somebody else": (
        tcp(80, UserIdGroupPairs=[{"GroupId": "sg-9", "UserId": "999999999999"}]),
        "InvalidGroup.NotFound",
        "You have specified two resources that belong to different networks."),
    "a description": (tcp(80, IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "<x>"}]),
                      "InvalidParameterValue",
                      "Invalid rule description. Valid descriptions are strings less than 256 "
                      "characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"),
    "twice": (tcp(80, IpRanges=[{"CidrIp": "10.0.0.1/8"}, {"CidrIp": "10.0.0.0/8"}]),
              "InvalidParameterValue", "The same permission must not appear multiple times"),
}


@pytest.mark.parametrize("what", RULES_REFUSED)
def test_a_rule_is_refused(ec2, group, what):
    rule, code, message = RULES_REFUSED[what]
    assert refused(ec2.authorize_security_group_ingress, GroupId=group,
                   IpPermissions=[rule]) == (code, message)
    assert permissions(ec2, group) == []


def test_rules_that_are_there_or_not(ec2, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22)])
    assert refused(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[tcp(22)]) == (
        "InvalidPermission.Duplicate",
        'the specified rule "peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW" already exists')
    assert refused(ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=[tcp(23)]) == (
        "InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
    assert refused(ec2.authorize_security_group_ingress, GroupId=group,
                   IpPermissions=[tcp(24)], DryRun=True)[0] == "DryRunOperation"
    assert refused(ec2.authorize_security_group_ingress, GroupId=group)[0] == "MissingParameter"


def test_sixty_rules_each_way(ec2, group):
    many = [tcp(port) for port in range(1, 61)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=many)
    assert refused(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[tcp(61)]) == (
        "RulesPerSecurityGroupLimitExceeded",
        "The maximum number of rules per security group has been reached.")
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(61)])
    walked = []
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "group-id", "Values": [group]}], PaginationConfig={"PageSize": 7})
    for page in pages:
        assert len(page["SecurityGroupRules"]) <= 7
        walked += [rule["SecurityGroupRuleId"] for rule in page["SecurityGroupRules"]]
    assert len(walked) == len(set(walked)) == 62


def test_revoke_by_id_and_modify(ec2, group):
    made = ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[tcp(22), tcp(80)],
        TagSpecifications=[{"ResourceType": "security-group-rule",
                            "Tags": [{"Key": "team", "Value": "blue"}]}])["SecurityGroupRules"]
    first, second = (rule["SecurityGroupRuleId"] for rule in made)
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[
        {"SecurityGroupRuleId": first, "SecurityGroupRule": {
            "IpProtocol": "udp", "FromPort": 5, "ToPort": 6, "CidrIpv4": "10.1.0.0/16",
            "Description": "changed"}}])
    [rule] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[first])["SecurityGroupRules"]
    assert (rule["IpProtocol"], rule["CidrIpv4"], rule["Description"]) == (
        "udp", "10.1.0.0/16", "changed")
    assert rule["Tags"] == [{"Key": "team", "Value": "blue"}]
    assert refused(ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[
        {"SecurityGroupRuleId": first, "SecurityGroupRule": {
            "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIpv4": "0.0.0.0/0"}}])[0] == (
                "InvalidPermission.Duplicate")
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group, SecurityGroupRuleDescriptions=[
            {"SecurityGroupRuleId": second, "Description": "web"}])
    assert permissions(ec2, group)[1]["IpRanges"] == [
        {"CidrIp": "0.0.0.0/0", "Description": "web"}]
    ec2.update_security_group_rule_descriptions_ingress(GroupId=group, IpPermissions=[
        tcp(80, IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "site"}])])
    assert permissions(ec2, group)[1]["IpRanges"][0]["Description"] == "site"
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[first, second])
    assert permissions(ec2, group) == []
    assert refused(ec2.revoke_security_group_ingress, GroupId=group,
                   SecurityGroupRuleIds=[first]) == (
        "InvalidSecurityGroupRuleId.NotFound",
        f"The security group rule ID '{first}' does not exist")


def test_egress_is_apart(ec2, group):
    everything = [{"IpProtocol": "-1", **EVERYWHERE}]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything)
    assert permissions(ec2, group, "IpPermissionsEgress") == []
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=everything)
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(443)])
    assert refused(ec2.revoke_security_group_egress, GroupId=group,
                   IpPermissions=everything)[0] == "InvalidPermission.NotFound"
    ec2.update_security_group_rule_descriptions_egress(GroupId=group, IpPermissions=[
        tcp(443, IpRanges=[{"CidrIp": "0.0.0.0/0", "Description": "tls"}])])
    assert permissions(ec2, group, "IpPermissionsEgress")[0]["IpRanges"][0]["Description"] == "tls"


# ---- filters, pages, tags -----------------------------------------------------------------------


def test_filters(ec2, vpc, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        tcp(7001, 7005, IpRanges=[{"CidrIp": "10.77.0.0/16"}])])
    ec2.create_tags(Resources=[group], Tags=[{"Key": "team", "Value": "red*blue"}])

    def found(**filters):
        given = [{"Name": name.replace("__", ":").replace("_", "-"), "Values": values}
                 for name, values in filters.items()]
        return {one["GroupId"] for one in
                ec2.describe_security_groups(Filters=given)["SecurityGroups"]}

    assert found(group_id=[group]) == {group}
    assert found(group_name=["test_filter?"]) == {group}
    assert found(group_name=["test_f*"], description=["of ? test"], vpc_id=[vpc]) == {group}
    assert group in found(vpc_id=["vpc-0", vpc]) and found(vpc_id=["vpc-0"]) == set()
    assert found(tag__team=["red\\*blue"]) == {group} and found(tag__team=["red\\?blue"]) == set()
    assert found(tag_key=["te*"]) == {group}

    def found_rule(name, *values):
        given = [{"Name": name, "Values": list(values)}, {"Name": "group-id", "Values": [group]}]
        return bool(ec2.describe_security_groups(Filters=given)["SecurityGroups"])

    assert found_rule("ip-permission.cidr", "10.77.0.0/16")
    assert not found_rule("ip-permission.cidr", "0.0.0.0/0")
    assert found_rule("egress.ip-permission.cidr", "0.0.0.0/0")
    assert found_rule("ip-permission.from-port", "7001") and found_rule(
        "ip-permission.to-port", "7005") and found_rule("ip-permission.protocol", "tcp")
    assert refused(ec2.describe_security_groups, Filters=[{"Name": "colour", "Values": ["x"]}]) == (
        "InvalidParameterValue", "The filter 'colour' is invalid")


def test_pages(ec2):
    made = [ec2.create_security_group(GroupName=f"page-{i}", Description="x")["GroupId"]
            for i in range(12)]
    given = [{"Name": "group-name", "Values": ["page-*"]}]
    pages = ec2.get_paginator("describe_security_groups").paginate(
        Filters=given, PaginationConfig={"PageSize": 5})
    sizes, walked = [], []
    for page in pages:
        sizes.append(len(page["SecurityGroups"]))
        walked += [group["GroupId"] for group in page["SecurityGroups"]]
    assert sizes == [5, 5, 2] and walked == made
    for group in made:
        ec2.delete_security_group(GroupId=group)
    assert refused(ec2.describe_security_groups, MaxResults=1001)[0] == "InvalidParameterValue"
    assert refused(ec2.describe_security_groups, NextToken="x")[0] == "InvalidPaginationToken"


def test_tags(ec2, vpc):
    made = ec2.create_security_group(
        GroupName="tagged", Description="x", TagSpecifications=[
            {"ResourceType": "security-group", "Tags": [{"Key": "a", "Value": "1"}]}])
    group = made["GroupId"]
    assert made["Tags"] == [{"Key": "a", "Value": "1"}]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    [rule] = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    ids = [group, subnet, vpc, rule["SecurityGroupRuleId"]]
    ec2.create_tags(Resources=ids, Tags=[{"Key": "b", "Value": "2"}])
    listed = {(tag["ResourceId"], tag["ResourceType"]) for tag in
              ec2.describe_tags(Filters=[{"Name": "key", "Values": ["b"]}])["Tags"]}
    assert listed == {(group, "security-group"), (subnet, "subnet"), (vpc, "vpc"),
                      (ids[3], "security-group-rule")}
    assert {"Key": "b", "Value": "2"} in ec2.describe_vpcs()["Vpcs"][0]["Tags"]
    ec2.delete_tags(Resources=[group], Tags=[{"Key": "a", "Value": "other"}, {"Key": "b"}])
    [shown] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert shown["Tags"] == [{"Key": "a", "Value": "1"}]
    ec2.delete_tags(Resources=ids[1:])
    assert refused(ec2.create_tags, Resources=[group], Tags=[{"Key": "aws:x", "Value": "1"}]) == (
        "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
    assert refused(ec2.create_tags, Resources=["i-1"], Tags=[{"Key": "x", "Value": "1"}])[0] == (
        "InvalidID")
    many = [{"Key": str(i), "Value": ""} for i in range(50)]
    assert refused(ec2.create_tags, Resources=[group], Tags=many)[0] == "TagLimitExceeded"
    ec2.delete_security_group(GroupId=group)


# ---- networks -----------------------------------------------------------------------------------


def test_networks(berth, ec2, vpc):
    [shown] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert shown["IsDefault"] is True and shown["State"] == "available"
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    assert [one["SubnetId"] for one in subnets] == berth.network()["awsvpcConfiguration"]["subnets"]
    assert subnets[0]["AvailableIpAddressCount"] > 0 and subnets[0]["DefaultForAz"] is True
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in zones] == [one["AvailabilityZone"] for one in subnets]
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert refused(ec2.describe_vpcs, VpcIds=["vpc-1"])[0] == "InvalidVpcID.NotFound"
    assert refused(ec2.describe_subnets, SubnetIds=["subnet-1"])[0] == "InvalidSubnetID.NotFound"
    assert refused(ec2.describe_network_interfaces, NetworkInterfaceIds=["eni-1"]) == (
        "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-1' does not exist")


def test_unknown_operations_are_refused_as_ec2_does(ec2):
    code, message = refused(ec2.describe_instances)
    assert code == "InvalidAction" and "DescribeInstances" in message


def test_credentials_are_refused_as_ec2_does(berth, ec2):
    words = "AWS was not able to validate the provided access credentials. "
    for key in ({"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}, {"aws_secret_access_key": "wrong"}):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            berth.client("ec2", **key).describe_vpcs()
        error, meta = (caught.value.response[name] for name in ("Error", "ResponseMetadata"))
        assert (error["Code"], meta["HTTPStatusCode"]) == ("AuthFailure", 401), error
        assert error["Message"].startswith(words) and len(error["Message"]) > len(words), error


def test_a_service_says_that_its_group_is_gone(berth, ec2):
    """No interface is in it while nothing runs, so it can be deleted; nothing starts in it then."""
    ecs = berth.client()
    gone = ec2.create_security_group(GroupName="gone", Description="x")["GroupId"]
    ecs.create_cluster(clusterName="default")
    ecs.register_task_definition(
        family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[{"name": "app", "image": "app"}])
    network = {"awsvpcConfiguration": {
        "subnets": berth.network()["awsvpcConfiguration"]["subnets"], "securityGroups": [gone]}}
    ecs.create_service(serviceName="web", taskDefinition="web", desiredCount=1, launchType="FARGATE",
                       networkConfiguration=network)
    ec2.delete_security_group(GroupId=gone)
    reason = (f"Error retrieving security group information for [{gone}]: The security group "
              f"'{gone}' does not exist (ErrorCode: InvalidGroup.NotFound)")
    assert refused(ecs.run_task, taskDefinition="web", launchType="FARGATE",
                   networkConfiguration=network) == ("InvalidParameterException", reason)
    assert refused(ecs.create_service, serviceName="other", taskDefinition="web", desiredCount=1,
                   launchType="FARGATE", networkConfiguration=network)[1] == reason
    assert refused(ecs.update_service, service="web", forceNewDeployment=True)[1] == reason

    # What has no place is looked for again every five seconds.
    def told():
        """an event that names the group"""
        [service] = ecs.describe_services(services=["web"])["services"]
        assert service["runningCount"] == service["pendingCount"] == 0
        return [event["message"] for event in service["events"] if gone in event["message"]]
    try:
        assert support.wait_for(told)[0] == (
            f"(service web) was unable to place a task. Reason: {reason}.")
    finally:
        ecs.delete_service(service="web", force=True)


@pytest.mark.parametrize("program", support.aws_programs())
def test_the_cli(berth, program):
    def aws(*words):
        return berth.aws("ec2", *words, program=program)

    group = aws("create-security-group", "--group-name", "cli", "--description", "by the CLI")["GroupId"]
    aws("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port",
        "8000-8010", "--cidr", "10.0.0.0/8")
    aws("authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22",
        "--source-group", group)
    [shown] = aws("describe-security-groups", "--group-ids", group)["SecurityGroups"]
    assert [one["FromPort"] for one in shown["IpPermissions"]] == [8000, 22]
    assert shown["IpPermissions"][1]["UserIdGroupPairs"][0]["GroupId"] == group
    aws("create-tags", "--resources", group, "--tags", "Key=a,Value=b")
    [shown] = aws("describe-security-groups", "--filters", "Name=tag:a,Values=b")["SecurityGroups"]
    assert shown["GroupId"] == group
    aws("revoke-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "22",
        "--source-group", group)
    aws("delete-security-group", "--group-id", group)


def test_groups_are_kept(berth, ec2, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    before = ec2.describe_security_groups()["SecurityGroups"]
    assert berth.stop() == 0, berth.tail()
    berth.start()
    assert berth.client("ec2").describe_security_groups()["SecurityGroups"] == before
