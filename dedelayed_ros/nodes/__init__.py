"""The ROS 2 nodes: they declare parameters, convert messages and call the core. Nothing else imports rclpy."""
