terraform {
  required_version = ">= 1.9" # conditions of variables that look at other variables

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
  }
}
