mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

variables {
  name               = "tamer"
  availability_zones = ["eu-west-1a", "eu-west-1c"]
}

run "each_zone_has_a_subnet_of_its_own" {
  command = plan

  assert {
    condition     = { for zone, subnet in aws_subnet.public : zone => subnet.cidr_block } == { eu-west-1a = "10.72.0.0/20", eu-west-1c = "10.72.32.0/20" }
    error_message = "a zone's subnet must not depend on what other zones there are"
  }
}

run "nobody_from_outside_reaches_a_worker" {
  command = apply

  assert {
    condition     = aws_vpc_security_group_ingress_rule.weights_of_peers.cidr_ipv4 == null
    error_message = "workers take weights from workers alone"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.from_clients) == 0
    error_message = "no client reaches the API unless a network is named"
  }
}

run "a_control_plane_outside_is_reached_on_its_ports_alone" {
  command = plan

  variables {
    outside_control_plane_cidr_blocks = ["203.0.113.7/32"]
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.to_outside_control_plane : rule.from_port]) == toset([6379, 8000])
    error_message = "the API and the Redis, and nothing else"
  }
}

run "a_zone_of_another_region_is_refused" {
  command = plan

  variables {
    availability_zones = ["us-east-1a"]
  }

  expect_failures = [aws_subnet.public]
}

run "bad_input_is_named" {
  command = plan

  variables {
    name               = "Tamer!"
    availability_zones = ["eu-west-1"]
    cidr_block         = "10.0.0.0/28"
    api_port           = 0
  }

  expect_failures = [var.name, var.availability_zones, var.cidr_block, var.api_port]
}
